"""The ways of taking a task to its answer."""

from atlas.lanes.auto import AutoLane
from atlas.lanes.base import LanePlay, Played
from atlas.lanes.coach import CoachLane
from atlas.lanes.paired import PairedLane

__all__ = ["AutoLane", "CoachLane", "LanePlay", "PairedLane", "Played"]
