"""The command line: which commands there are, and what becomes of an error."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from atlas.schema.errors import AtlasError

OK, FAILED, USAGE, MODEL_DOWN, STORE_DOWN, INTERRUPTED = 0, 1, 2, 3, 4, 130


class Entry(NamedTuple):
    """A command that is not imported yet."""

    module: str
    """Module of this package; its `command` is the click command."""
    help: str
    """One line for `atlas --help`."""


COMMANDS: dict[str, Entry] = {
    "demo": Entry("demo", "See the agent learn: no key, no network, under two minutes."),
    "quickstart": Entry("demo", "The same, by the name that users of earlier SDKs know."),
    "env": Entry("env", "Find the agent in a project and write a configuration that runs it."),
    "run": Entry("run", "Take one task through the loop and print its answer."),
    "resume": Entry("resume", "Continue an interrupted session without paying twice."),
    "replay": Entry("replay", "Play a recorded session again, offline, or with one thing changed."),
    "session": Entry("session", "List, show, approve, quarantine or delete sessions."),
    "view": Entry("view", "See sessions, lessons and costs in a browser, and review them."),
    "mcp": Entry("mcp", "Offer playbooks to any agent that speaks MCP, and take outcomes."),
    "ingest": Entry("ingest", "Receive OpenTelemetry traces of other agents as sessions."),
    "proxy": Entry("proxy", "Let existing agents call models through Atlas: they only change their base URL."),
    "playbook": Entry("playbook", "Show, compare, review, roll back, export and import what was learnt."),
    "learning": Entry("learning", "Test lessons on stored tasks, state the guarantee, report on learning."),
    "judge": Entry("judge", "Score answers, calibrate judges on gold, attack them, see whether they drift."),
    "route": Entry("route", "Fit the router on recorded sessions."),
    "export": Entry("export", "Write reviewed sessions to a file: records, or rows for a trainer."),
    "import": Entry("export", "Store the records of an exported file."),
    "train": Entry("train", "Train student or teacher from recorded sessions."),
    "serve": Entry("serve", "Serve a small checkpoint over the OpenAI protocol."),
    "deploy": Entry("deploy", "Put a trained checkpoint into the loop, on evidence, and take it out."),
    "db": Entry("db", "Delete old sessions from the database."),
    "config": Entry("check", "Check a configuration file."),
    "doctor": Entry("doctor", "Check this machine: Python, configuration, keys, database, models."),
    "init": Entry("local", "Start the local database and keep it running."),
    "quit": Entry("local", "Stop the local database."),
    "version": Entry("version", "Print the version."),
}

EPILOG = """\b
Examples:
  atlas demo
  atlas doctor
  atlas run --task "Summarise the open tickets" --config atlas.yaml
  atlas session list
  atlas --debug run --task "…"

\b
Exit codes:
  0  done
  1  the session failed
  2  wrong usage or configuration
  3  a model or its provider is down
  4  the database is down
  130  interrupted; `atlas resume` continues the session
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found = importlib.import_module(f"atlas.cli.{entry.module}")
        command: click.Command = getattr(found, "commands", {}).get(cmd_name) or found.command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. A reader of stdout that leaves (`atlas session list | head`) is no failure."""
        try:
            returned = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return OK
        return returned

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def atlas(debug: bool) -> None:
    """Any LLM agent in a loop: the agent acts, a teacher verifies, judges score, playbooks remember."""


def main() -> None:
    """The entry point `atlas`."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(argv: list[str], command: click.Command = atlas) -> int:
    """Run one command line; gives the exit code. No error leaves as a traceback unless --debug asks for it."""
    try:
        returned = command.main(args=argv, prog_name=command.name, standalone_mode=False)
        return returned if isinstance(returned, int) else OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # the outermost boundary: every failure becomes a line and an exit code here
        if "--debug" in argv[:1]:
            traceback.print_exc()
        return failed(error)


def failed(error: Exception) -> int:
    """Tell an error; a defect of Atlas in one line too, its traceback is one flag away."""
    from atlas.schema.errors import AtlasError

    if isinstance(error, AtlasError):
        complain(error)
        return code_of(error)
    click.echo(f"atlas: unexpected {type(error).__name__}: {error} (atlas --debug … shows where)", err=True)
    return FAILED


def complain(error: AtlasError, clean: Callable[[str], str] = str) -> None:
    """One line on stderr for each problem: the cause, then the remedy; `clean` takes secrets out."""
    for line in clean(str(error)).splitlines() or [type(error).__name__]:
        click.echo(f"atlas: {line}", err=True)


def code_of(error: AtlasError) -> int:
    """The exit code that belongs to an error."""
    from atlas.schema import errors

    match error:
        case errors.ConfigError() | errors.DiscoveryError():
            return USAGE
        case errors.ModelUnavailable() | errors.ModelTimeout() | errors.ModelRefused():
            return MODEL_DOWN
        case errors.StoreUnavailable():
            return STORE_DOWN
        case _:
            return FAILED
