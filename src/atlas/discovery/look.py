"""The child's side of a look: import what was found, make it, and say what it is, on a descriptor of its own."""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from atlas.schema import Noun


class Look(Noun):
    """What the child found out by importing."""

    ok: bool
    """Whether it can be made."""
    name: str = ""
    """How it will be recorded."""
    level: str = ""
    """What it lets Atlas see and do; see `Abilities.level`."""
    error: str = ""
    """Why it cannot be made, on one line."""


class Order(Noun):
    """What the child is asked."""

    role: str
    """agent or environment."""
    import_path: str
    """`pkg.mod:attr`."""
    root: str
    """The project's folder."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """What an environment is made with (a payload)."""


def main(order_text: str, result: int) -> None:
    """Look, and write one line of JSON to the descriptor `result`."""
    os.set_inheritable(result, False)
    if os.environ.get("ATLAS_ALONE") != "1":
        sys.addaudithook(_no_network)
    order = Order.model_validate_json(order_text)
    try:
        found = _looked(order)
    except BaseException as error:  # The boundary to the stranger's code: even an exit of its own is an answer here.
        found = Look(ok=False, error=" ".join(f"{type(error).__name__}: {error}".split())[:500])
    os.write(result, found.model_dump_json().encode() + b"\n")
    os._exit(0)


def _looked(order: Order) -> Look:
    from atlas.agents import Surroundings, agent_of, load_object

    found = load_object(order.import_path, root=Path(order.root))
    if order.role == "environment":
        return _world(found, order.arguments)
    agent = agent_of(found, Surroundings(), where=order.import_path)
    return Look(ok=True, name=agent.name, level=agent.abilities.level)


def _world(make: Any, arguments: dict[str, Any]) -> Look:
    """The class or factory is bound to its arguments; where it makes one without trouble, that is looked at too."""
    if not callable(make):
        return Look(ok=False, error="it is not callable")
    try:
        inspect.signature(make).bind(**arguments)
    except (TypeError, ValueError) as error:
        return Look(ok=False, error=f"{error}; give --env-arg NAME=VALUE")
    made = make(**arguments)
    if not (callable(getattr(made, "reset", None)) and callable(getattr(made, "step", None))):
        return Look(ok=False, error="it has no reset and step")
    return Look(ok=True, name=type(made).__name__)


def _no_network(event: str, _: tuple[Any, ...]) -> None:
    """Refuse Python's sockets where the kernel gave no namespace."""
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"):
        raise PermissionError("no network while discovery looks")


BOOT = (
    "import json, sys; order, result, path = sys.argv[1:4]; sys.path[:] = json.loads(path); "
    "from atlas.discovery.look import main; main(order, int(result))"
)
"""What the child's interpreter is told."""


def boot_arguments(order: Order, result: int) -> list[str]:
    """The child's command line, with this interpreter's search path but for the working folder."""
    path = [place for place in sys.path if place and os.path.isabs(place)]
    return [sys.executable, "-I", "-c", BOOT, order.model_dump_json(), str(result), json.dumps(path)]
