"""Judges and what the ensemble makes of them."""

from atlas.judges.base import Judge

__all__ = ["Judge"]
