"""References to a user's own Python code, as text."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, model_validator

from atlas.config.llm import Block

_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"


def _import_path(text: str) -> str:
    if not re.fullmatch(f"{_DOTTED}:{_DOTTED}", text):
        raise ValueError("must be pkg.mod:attr")
    return text


def _module_path(text: str) -> str:
    if not re.fullmatch(f"{_DOTTED}(:{_DOTTED})?", text):
        raise ValueError("must be pkg.mod:attr, or pkg.mod with an attribute beside it")
    return text


ImportPath = Annotated[str, AfterValidator(_import_path)]
"""`pkg.mod:attr`."""

ModulePath = Annotated[str, AfterValidator(_module_path)]
"""`pkg.mod:attr`, or `pkg.mod` with the attribute given beside it."""


class PythonReference(Block):
    """Something in a user's module. The module is imported when a session needs it, never while loading."""

    import_path: ModulePath
    """`pkg.mod:attr`, or the module alone."""
    attribute: str | None = None
    """The name in the module; left out when `import_path` names it."""

    @model_validator(mode="after")
    def _names_one_thing(self) -> PythonReference:
        if (":" in self.import_path) == (self.attribute is not None):
            raise ValueError("name the attribute once: import_path: pkg.mod:attr, or import_path and attribute")
        return self

    @property
    def target(self) -> str:
        """`pkg.mod:attr`."""
        return self.import_path if self.attribute is None else f"{self.import_path}:{self.attribute}"
