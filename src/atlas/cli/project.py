"""What the commands share: the project's folder, its configuration, its environment, its store."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

if TYPE_CHECKING:
    from atlas.config import AtlasConfig
    from atlas.store import Safety, Store

CONFIG_NAME = "atlas.yaml"
GENERATED_CONFIG = Path(".atlas", "generated_config.yaml")

Given = ParamSpec("Given")


@dataclass(frozen=True, slots=True)
class Project:
    """The folder a command works on, with its configuration and environment."""

    folder: Path
    """`.env`, `.atlas/` and the user's code lie here."""
    file: Path
    """The configuration's file."""
    named: bool
    """Whether the user named the file."""
    variables: tuple[str, ...] = ()
    """KEY=VALUE from the command line."""

    def config(self) -> AtlasConfig:
        """The project's configuration, after its environment.

        Raises:
            ConfigError: the file or `.env` is wrong.
        """
        from atlas.config import load_config

        read_environment(self.folder, self.variables)
        return load_config(self.file)

    def known_config(self) -> AtlasConfig | None:
        """The project's configuration; None where there is no file and the user named none.

        Raises:
            ConfigError: the file or `.env` is wrong.
        """
        return self.config() if self.named or self.file.exists() else None

    def safety(self) -> Safety:
        """What must not be written in clear, as the configuration says or by default.

        Raises:
            ConfigError: the file or `.env` is wrong.
        """
        from atlas.store import safety_of

        config = self.known_config()
        return safety_of(config.runtime_safety, secrets=config.secret_variables) if config else safety_of()

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[Store]:
        """The project's store. Without a configuration file it is the embedded database, if the folder has one.

        Raises:
            ConfigError: nothing is stored for this project.
            StoreUnavailable: the database is away.
        """
        from atlas.config import StorageConfig
        from atlas.runtime import STATE_FOLDER
        from atlas.schema.errors import ConfigError
        from atlas.store import open_store

        config = self.known_config()
        storage = config.storage if config else StorageConfig()
        if storage is None:
            raise ConfigError(f"{self.file} says storage: null, so nothing is kept.", "Remove that line.")
        if storage.database_url is None and not (self.folder / STATE_FOLDER).exists():
            raise ConfigError(f"There is no {STATE_FOLDER} in {self.folder.resolve()}.", "Give --path or --config.")
        store = await open_store(
            storage.database_url,
            folder=self.folder / STATE_FOLDER,
            embedded=storage.embedded,
            sizes=(storage.min_connections, storage.max_connections),
            statement_timeout_s=storage.statement_timeout_seconds,
            safety=self.safety(),
        )
        try:
            yield store
        finally:
            await store.close()


def project_options(function: Callable[Concatenate[Project, Given], None]) -> Callable[..., None]:
    """`--config`, `--path` and `--env`, handed over as one Project."""

    @functools.wraps(function)
    def with_project(
        config: Path | None, path: Path, variables: tuple[str, ...], *given: Given.args, **named: Given.kwargs
    ) -> None:
        file = config or default_config(path)
        project = Project(path, file, named=config is not None, variables=variables)
        function(project, *given, **named)

    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    decorated: Callable[..., None] = with_project
    for option in (
        click.option("--env", "variables", multiple=True, metavar="KEY=VALUE", help="Set an environment variable."),
        click.option("--path", type=folder, default=Path(), help="The project's folder, with .env and .atlas/."),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help=f"Default: {CONFIG_NAME} there, else what `atlas env init` wrote.",
        ),
    ):
        decorated = option(decorated)
    return decorated


def default_config(folder: Path) -> Path:
    """`atlas.yaml`; where there is none, what `atlas env init` wrote, if it was there."""
    written = folder / GENERATED_CONFIG
    return written if written.exists() and not (folder / CONFIG_NAME).exists() else folder / CONFIG_NAME


def read_environment(folder: Path, variables: tuple[str, ...] = ()) -> None:
    """Set the variables given on the command line, then those of `.env` that are not set yet."""
    from atlas.config import load_dotenv

    for assignment in variables:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter("write KEY=VALUE", param_hint="--env")
        os.environ[name] = value
    load_dotenv(folder / ".env")
