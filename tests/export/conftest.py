"""One real embedded server for the tests of export, and one database that the loop has filled."""

from export_kit import bases, filled

__all__ = ["bases", "filled"]
