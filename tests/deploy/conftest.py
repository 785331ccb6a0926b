"""The servers and sessions of the training tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "export"))
sys.path.append(str(Path(__file__).parents[1] / "train"))

from export_kit import bases
from train_kit import desk_traces

__all__ = ["bases", "desk_traces"]
