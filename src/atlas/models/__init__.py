"""Every model call leaves from here."""

from atlas.models.base import Model, OnText
from atlas.models.caller import Caller, Journal, Place, RunTool, request_hash
from atlas.models.chat import ChatModel
from atlas.models.fence import Fence
from atlas.models.http import HttpPool
from atlas.models.json_schema import check_schema, violation
from atlas.models.open import open_model
from atlas.models.recording import Recording
from atlas.models.replay import ReplayModel
from atlas.models.retry import Pace, Retrier, RetryBudget
from atlas.models.scripted import ScriptedModel
from atlas.models.structured import ask_json, parse_object

__all__ = [
    "Caller",
    "ChatModel",
    "Fence",
    "HttpPool",
    "Journal",
    "Model",
    "OnText",
    "Pace",
    "Place",
    "Recording",
    "ReplayModel",
    "Retrier",
    "RetryBudget",
    "RunTool",
    "ScriptedModel",
    "ask_json",
    "check_schema",
    "open_model",
    "parse_object",
    "request_hash",
    "violation",
]
