"""The server and the filled database of the export tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "export"))

from export_kit import bases, filled

__all__ = ["bases", "filled"]
