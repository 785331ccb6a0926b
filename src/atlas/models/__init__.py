"""Every model call leaves from here."""

from atlas.models.base import Model, OnText
from atlas.models.caller import Caller, Journal, Place, RunTool, request_hash

__all__ = ["Caller", "Journal", "Model", "OnText", "Place", "RunTool", "request_hash"]
