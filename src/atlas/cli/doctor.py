"""`atlas doctor`: everything that a run needs, checked one by one without calling a provider."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, get_args

import click

from atlas.cli.app import FAILED, OK, USAGE, code_of
from atlas.cli.discovered import current_discovery
from atlas.cli.project import GENERATED_CONFIG, Project, project_options

if TYPE_CHECKING:
    from atlas.config import AtlasConfig, LLMConfig
    from atlas.models import HttpPool

SUPPORTED = ((3, 11), (3, 14))
"""Python versions: from the first on, below the second."""

POCKET = ("pocket-student", "pocket-teacher")
"""The models that ship with Atlas."""

EPILOG = """\b
Examples:
  atlas doctor
  atlas doctor --config prod.yaml

\b
No provider is called. The exit code is that of the first check that failed.
"""


class Check(NamedTuple):
    """One line of the report."""

    name: str
    """What was looked at."""
    detail: str
    """What was found."""
    code: int = OK
    """The exit code it stands for."""


@click.command("doctor", epilog=EPILOG)
@project_options
@click.pass_context
def command(context: click.Context, project: Project) -> None:
    """Check Python, the configuration, keys, the database and the models that ship with Atlas."""
    checks = asyncio.run(_checks(project))
    for check in checks:
        click.echo(f"{'ok  ' if check.code == OK else 'FAIL'} {check.name}: {check.detail}")
    context.exit(next((check.code for check in checks if check.code != OK), OK))


async def _checks(project: Project) -> list[Check]:
    checks = [_python()]
    configured: list[AtlasConfig] = []

    async def read() -> str:
        configured.append(project.config())
        return str(project.file)

    if project.named or project.file.exists():
        checks.append(await _checked("configuration", read))
    else:
        checks.append(Check("configuration", f"none ({project.file}); run() and `atlas demo` need none"))
    checks += await _discovery(project)
    if configured:
        checks.append(await _checked("agent", lambda: _agent(configured[0], project.folder)))
        checks += await _seats(configured[0], project.folder)
        if all(check.code == OK for check in checks):
            checks.append(await _checked("your code", lambda: _parts(configured[0], project.folder)))
    if not configured or configured[0].storage is not None:
        checks.append(await _checked("database", lambda: _database(project)))
    checks.append(await _checked("pocket models", _pocket))
    return checks


async def _checked(name: str, look: Callable[[], Awaitable[str]]) -> Check:
    from atlas.schema.errors import AtlasError

    try:
        return Check(name, await look())
    except AtlasError as error:
        return Check(name, " ".join(str(error).split()), code_of(error))


def _python() -> Check:
    first, last = SUPPORTED
    version = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if first <= sys.version_info[:2] < last:
        return Check("python", version)
    return Check("python", f"{version}; Atlas needs {first[0]}.{first[1]} or newer, below {last[0]}.{last[1]}", FAILED)


async def _discovery(project: Project) -> list[Check]:
    """Whether what `atlas env init` found is still there, and what it needs; nothing where it has not been."""
    from atlas.discovery import read_record

    if project.file != project.folder / GENERATED_CONFIG:
        return []

    async def look() -> str:
        discovered = current_discovery(project)
        names = [chosen.candidate.label for chosen in discovered.chosen] if discovered else []
        return ", ".join(names) or "no record; run: atlas env init"

    checks = [await _checked("discovery", look)]
    discovered = read_record(project.folder) if checks[0].code == OK else None
    for library in discovered.frameworks if discovered else ():
        if not _importable(library):
            checks.append(Check(f"library {library}", "not installed; the project imports it", USAGE))
    unset = [key for key in (discovered.keys if discovered else ()) if not os.environ.get(key)]
    if unset:
        where = project.folder / ".env"
        checks.append(
            Check("keys of the project", f"not set: {', '.join(unset)}; what the agent needs goes to {where}")
        )
    return checks


def _importable(library: str) -> bool:
    """Whether a module is there; only the packages above it are imported."""
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):
        return False


async def _seats(config: AtlasConfig, folder: Path) -> list[Check]:
    """Each seat's model is opened, which needs its key or file, and not called."""
    from atlas.config import Seat
    from atlas.models import HttpPool

    http, checks = HttpPool(), list[Check]()

    for seat in get_args(Seat):
        llm = config.llm_of(seat)
        checks.append(await _checked(seat, partial(_model, llm, http, folder)) if llm else Check(seat, "no model"))
    await http.close()
    return checks


async def _agent(config: AtlasConfig, folder: Path) -> str:
    """Its name, and what it lets Atlas see and do; the user's module is imported for it."""
    from atlas.models import HttpPool
    from atlas.runtime.seats import Models, open_agent

    models = Models(config, HttpPool(), folder)
    try:
        agent = open_agent(config, models, folder, given=None, user_loop=None)
        return f"{agent.name}: {agent.abilities.level}"
    finally:
        await models.close()


async def _parts(config: AtlasConfig, folder: Path) -> str:
    """Import all code that the configuration names, as a run does."""
    from atlas.runtime import open_runtime

    runtime = await open_runtime(config.model_copy(update={"storage": None}), folder=folder)
    await runtime.close()
    return "all that is configured can be imported" if config.uses_user_code else "none is configured"


async def _model(llm: LLMConfig, http: HttpPool, folder: Path) -> str:
    from atlas.models import open_model

    model = open_model(llm, http, base=folder)
    await model.close()
    return model.name


async def _database(project: Project) -> str:
    """A project without a database yet gets a passing one elsewhere, so that looking leaves nothing behind."""
    from atlas.runtime import STATE_FOLDER

    with TemporaryDirectory(prefix="atlas-doctor-") as elsewhere:
        passing = Path(elsewhere, STATE_FOLDER)
        if not (project.folder / STATE_FOLDER).exists():
            await asyncio.to_thread(passing.mkdir)
            project = replace(project, folder=passing.parent)
        started = time.perf_counter()
        async with project.store() as store:
            async for _ in store.sessions(limit=1):
                break
        seconds = time.perf_counter() - started
        await asyncio.to_thread(_remove_linked, passing / "pg")
    return f"answers in {seconds * 1000:.0f} ms"


def _remove_linked(data: Path) -> None:
    """As root the data may lie outside, behind a link that the temporary folder's end does not follow."""
    if data.is_symlink():
        shutil.rmtree(data.resolve())


async def _pocket() -> str:
    """Load both shipped models; that reads every weight."""
    from atlas.config import LLMConfig
    from atlas.models import HttpPool

    http = HttpPool()
    names = [await _model(LLMConfig(provider="local", model=name), http, Path()) for name in POCKET]
    await http.close()
    return ", ".join(names)
