"""What the user's code returned, as the text of an answer."""

from __future__ import annotations

import json

from atlas.models.text import one_line, scrub


class Unusable(Exception):
    """The user's code returned what is no answer; the message continues its name."""


def as_text(result: object) -> str:
    """A text as it is; a mapping, a list or a number as JSON.

    Raises:
        Unusable: it is empty, nothing, or no such thing.
    """
    if isinstance(result, str):
        text = scrub(result)
    elif isinstance(result, dict | list | tuple | int | float):
        try:
            text = scrub(json.dumps(result, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise Unusable(f"returned what JSON cannot carry ({one_line(error)})") from None
    else:
        raise Unusable(f"returned {'nothing' if result is None else 'a ' + type(result).__name__}")
    if not text.strip():
        raise Unusable("returned an empty answer")
    return text
