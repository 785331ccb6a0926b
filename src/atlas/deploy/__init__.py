"""A trained checkpoint back in the loop: served, compared with the one before, promoted or rolled back."""

from atlas.deploy.serve import ServeOptions, make_app, serve

__all__ = ["ServeOptions", "make_app", "serve"]
