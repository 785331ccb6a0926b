"""Harnesses: streams of tasks through the loop, paired with a control, reported with intervals."""

from atlas.evaluate.receipt import HarmfulEntry, Receipt, SuccessRate, TokensPerTask, receipt
from atlas.evaluate.stream import Point, play_stream

__all__ = ["HarmfulEntry", "Point", "Receipt", "SuccessRate", "TokensPerTask", "play_stream", "receipt"]
