"""Training runs as their folders tell them: what each was, and how its loss went."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atlas.schema import Noun
from atlas.schema.errors import TrainError
from atlas.train.manifest import Manifest, read_manifest
from atlas.viewer.charts import Chart, Line, thinned

LOG = "log.jsonl"
MOST_BYTES = 32_000_000
"""Of a log, the last so many bytes are read."""
MOST_RUNS = 200


class Run(Noun):
    """A training run."""

    name: str
    """Its folder's name."""
    manifest: Manifest
    """What it was."""
    steps: int
    """Steps its log tells."""
    here: bool = True
    """Whether its folder is on this machine; else it is known from the database alone, without its curves."""
    last_at: datetime | None
    """When it wrote the last of them (UTC); a run that died still says that it is running."""


class Broken(Noun):
    """A folder that cannot be read as a run."""

    name: str
    """Its name."""
    why: str
    """The cause."""


class LoggedStep(Noun):
    """One step, as far as a chart shows it."""

    step: int
    """Its number."""
    loss: float
    """The loss."""
    metrics: dict[str, float]
    """What else was measured."""


def runs(folder: Path, recorded: Sequence[dict[str, Any]] = ()) -> tuple[list[Run], list[Broken]]:
    """The runs below a folder and those that a database has recorded, newest first; and what is none."""
    found: list[Run] = []
    broken: list[Broken] = []
    for place in _folders(folder):
        try:
            manifest = read_manifest(place)
        except (TrainError, OSError) as error:
            broken.append(Broken(name=place.name, why=str(error)))
            continue
        if manifest is not None:
            log = place / LOG
            found.append(Run(name=place.name, manifest=manifest, steps=_last_step(log), last_at=_written(log)))
    here = {run.manifest.id for run in found}
    for told in recorded:
        try:
            manifest = Manifest.model_validate(told)
        except ValidationError:
            why = "Another version of Atlas recorded it."
            broken.append(Broken(name=str(told.get("id")), why=why))
            continue
        if manifest.id not in here:
            found.append(Run(name=manifest.id, manifest=manifest, steps=0, last_at=None, here=False))
    found.sort(key=_started, reverse=True)
    return found[:MOST_RUNS], broken


def _folders(folder: Path) -> list[Path]:
    try:
        return [place for place in folder.iterdir() if place.is_dir()]
    except OSError:
        return []


def _started(run: Run) -> datetime:
    return run.manifest.started_at


def run_named(folder: Path, name: str, recorded: Sequence[dict[str, Any]] = ()) -> Run | None:
    """The run of this name or id; None where there is none. A name that leads elsewhere is none."""
    return next((run for run in runs(folder, recorded)[0] if name in (run.name, run.manifest.id)), None)


def _last_step(log: Path) -> int:
    step = 0
    for line in _lines(log, 100_000):
        step = line.step
    return step


def _written(log: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(log.stat().st_mtime, UTC)
    except OSError:
        return None


def _lines(log: Path, most_bytes: int) -> Iterator[LoggedStep]:
    """The last steps of a log; a line that is half written yet is left out."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - most_bytes))
            text = file.read(most_bytes)
    except OSError:
        return
    for line in text.split(b"\n"):
        try:
            told = json.loads(line)
            yield LoggedStep(step=told["step"], loss=told["loss"], metrics=told["metrics"])
        except (ValueError, KeyError, TypeError, ValidationError):
            continue


def charts(folder: Path, name: str) -> tuple[Chart, ...]:
    """The curves of a run: its loss, then each thing that was measured on the way."""
    steps = list(_lines(folder / name / LOG, MOST_BYTES))
    kept = [steps[at] for at in thinned([step.loss for step in steps])]
    if not kept:
        return ()
    x = tuple(float(step.step) for step in kept)
    names = sorted({metric for step in kept for metric in step.metrics})
    measured = ((name, tuple(step.metrics.get(name) for step in kept)) for name in names)
    lines = [("loss", tuple(step.loss for step in kept)), *measured]
    return tuple(
        Chart(
            title=title.replace("_", " "),
            axis="step",
            x=x,
            lines=(Line(label=title, tint="accent" if title == "loss" else "judge", values=values),),
            log=True,
        )
        for title, values in lines
    )
