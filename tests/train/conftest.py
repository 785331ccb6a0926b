"""The server and the filled database of the export tests, and sessions of the pocket world."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "export"))

from export_kit import bases, filled
from train_kit import desk_traces

__all__ = ["bases", "desk_traces", "filled"]
