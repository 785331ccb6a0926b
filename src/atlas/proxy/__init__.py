"""The door for existing agents: they change their base URL, and their calls become sessions to judge and learn from."""

from atlas.proxy.base import Counts, ProxyRules
from atlas.proxy.door import Door
from atlas.proxy.opening import OpenProxy

__all__ = ["Counts", "Door", "OpenProxy", "ProxyRules"]
