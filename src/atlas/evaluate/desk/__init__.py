"""A small operations desk in which work is really executed: the world of the pocket models."""

from atlas.evaluate.desk.rules import (
    CLIENTS,
    DESKS,
    NEW_TOOLS,
    Rule,
    legacy,
    operations,
    today,
)
from atlas.evaluate.desk.tasks import Desk, DeskTask, Wish
from atlas.evaluate.desk.tools import TOOLS
from atlas.evaluate.desk.wording import guidance_words, rule_words
from atlas.evaluate.desk.world import Job, Ticket, check

__all__ = [
    "CLIENTS",
    "DESKS",
    "NEW_TOOLS",
    "TOOLS",
    "Desk",
    "DeskTask",
    "Job",
    "Rule",
    "Ticket",
    "Wish",
    "check",
    "guidance_words",
    "legacy",
    "operations",
    "rule_words",
    "today",
]
