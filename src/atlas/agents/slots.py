"""Places in a service's body or a program's arguments that are filled for each turn."""

from __future__ import annotations

import re
from typing import Any, cast

from atlas.agents.base import Turn
from atlas.agents.prompting import guidance_of, playbook_of, prompt_of

_SLOT = re.compile(r"\{(prompt|task|playbook|guidance)\}")


def fill(template: Any, turn: Turn, *, system: str | None = None) -> Any:
    """The template with every `{prompt}`, `{task}`, `{playbook}` and `{guidance}` in its texts replaced.

    `{prompt}` is all of them together, as one text, after `system`; `{task}` is the bare request.
    """
    values = {
        "prompt": "\n\n".join(filter(None, (system, prompt_of(turn)))),
        "task": turn.task.prompt,
        "playbook": playbook_of(turn),
        "guidance": guidance_of(turn) or "",
    }
    return _filled(template, values)


def injects(template: Any) -> bool:
    """Whether playbook and guidance have a place in the template."""
    names = _names(template)
    return "prompt" in names or {"playbook", "guidance"} <= names


def _filled(template: Any, values: dict[str, str]) -> Any:
    if isinstance(template, str):
        return _SLOT.sub(lambda match: values[match[1]], template)
    if isinstance(template, dict):
        return {key: _filled(value, values) for key, value in cast(dict[str, Any], template).items()}
    if isinstance(template, list | tuple):
        return [_filled(value, values) for value in cast(list[Any], template)]
    return template


def _names(template: Any) -> set[str]:
    if isinstance(template, str):
        return set(_SLOT.findall(template))
    if isinstance(template, dict):
        template = tuple(cast(dict[str, Any], template).values())
    children = cast(tuple[Any, ...], template) if isinstance(template, list | tuple) else ()
    return {name for child in children for name in _names(child)}
