"""Harnesses: streams of tasks through the loop, paired with a control; what the record says about learning."""

from atlas.evaluate.curves import LearningReport, learning_report
from atlas.evaluate.guarantee import Guarantees, guarantees
from atlas.evaluate.receipt import HarmfulEntry, Receipt, SuccessRate, TokensPerTask, receipt
from atlas.evaluate.report_text import markdown, svg
from atlas.evaluate.stream import Point, play_stream

__all__ = [
    "Guarantees",
    "HarmfulEntry",
    "LearningReport",
    "Point",
    "Receipt",
    "SuccessRate",
    "TokensPerTask",
    "guarantees",
    "learning_report",
    "markdown",
    "play_stream",
    "receipt",
    "svg",
]
