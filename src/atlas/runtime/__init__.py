"""The way of a session: loop, running sessions, and what they hold open."""

from atlas.runtime.build import STATE_FOLDER, open_runtime
from atlas.runtime.guest import Guest
from atlas.runtime.host import Host, Order
from atlas.runtime.replaying import Replayed
from atlas.runtime.result import Result, StepResult, result_of
from atlas.runtime.running import Running
from atlas.runtime.runtime import Runtime
from atlas.runtime.trials import Trial, Trials, suite, try_entry, try_version

__all__ = [
    "STATE_FOLDER",
    "Guest",
    "Host",
    "Order",
    "Replayed",
    "Result",
    "Running",
    "Runtime",
    "StepResult",
    "Trial",
    "Trials",
    "open_runtime",
    "result_of",
    "suite",
    "try_entry",
    "try_version",
]
