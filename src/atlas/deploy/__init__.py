"""A trained checkpoint back in the loop: served, compared with the one before, promoted or rolled back."""

from atlas.deploy.policies import Trial, Tried, enter, promote, roll_back, try_out, verdict_of
from atlas.deploy.serve import ServeOptions, make_app, serve

__all__ = [
    "ServeOptions",
    "Trial",
    "Tried",
    "enter",
    "make_app",
    "promote",
    "roll_back",
    "serve",
    "try_out",
    "verdict_of",
]
