"""From a scan to a decision: what is the agent, what its world, and how the configuration names them."""

from __future__ import annotations

from pathlib import Path

from atlas.discovery.facts import Candidate, Role, Scan
from atlas.discovery.record import Chosen
from atlas.discovery.wrappers import MODULE, direct_path, wrapper_text
from atlas.schema.errors import DiscoveryError

GOOD_ENOUGH = 30
"""A score below this is a guess that only a person may choose."""


def choose(scan: Scan, role: Role, wanted: str | None, root: Path) -> Chosen | None:
    """The candidate that `wanted` names, as `file.py:name` or `pkg.mod:name`; without a wish, the likeliest one.

    Raises:
        DiscoveryError: nothing in the project has that name.
    """
    if wanted is None:
        best = scan.best(role)
        usable = best if best and best.score >= GOOD_ENOUGH and not (best.needs and role == "agent") else None
        usable = usable or next(
            (each for each in scan.candidates if each.role == role and each.score >= GOOD_ENOUGH and not each.needs),
            None,
        )
        script = next((each for each in scan.candidates if each.role == role and each.kind == "script"), None)
        candidate = usable or script
        return None if candidate is None else _chosen(candidate, root)
    return _chosen(_named(scan, role, wanted, root), root)


def factories(chosen: tuple[Chosen, ...], root: Path) -> str | None:
    """The text of the module with wrappers; None where nothing needs one."""
    wrapped = [each.candidate for each in chosen if (each.import_path or "").startswith(f"{MODULE}:")]
    return wrapper_text(wrapped, root) if wrapped else None


def _chosen(candidate: Candidate, root: Path) -> Chosen:
    if candidate.kind == "script":
        return Chosen(candidate=candidate, import_path=None)
    direct = direct_path(candidate, root)
    return Chosen(candidate=candidate, import_path=direct or f"{MODULE}:{candidate.role}")


def _named(scan: Scan, role: Role, wanted: str, root: Path) -> Candidate:
    """A candidate by its name; something the scan did not take for one is taken at the user's word."""
    place, _, name = wanted.partition(":")
    if not place or not name:
        raise DiscoveryError(f"{wanted!a} names nothing.", "Write it as pkg.mod:name or file.py:name.")
    module = place.replace(".", "/")
    files = {place, f"{module}.py", f"{module}/__init__.py", f"src/{module}.py", f"src/{module}/__init__.py"}
    for candidate in scan.candidates:
        if candidate.file in files and candidate.name == name and candidate.role == role:
            return candidate
    file = next((file for file in sorted(files) if file in scan.files), None)
    if file is None:
        raise DiscoveryError(f"There is no module {place!a} in {root}.", "Name one of the project's files.")
    kind = "class" if name[:1].isupper() else "function"
    if role == "environment" and kind == "function":
        kind = "factory"
    return Candidate(role=role, kind=kind, file=file, line=1, name=name, score=1, why=("named by the user",))
