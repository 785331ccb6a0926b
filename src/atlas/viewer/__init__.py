"""Pages over the store: what happened, what it cost, what was learnt, and what waits for a person's word.

`atlas.viewer.viewer.Viewer` serves them; it is not imported here, so that other commands may ask for its address.
"""

from atlas.viewer.place import announced, running_at

__all__ = ["announced", "running_at"]
