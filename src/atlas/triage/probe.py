"""The probe: a model's guess whether the student will succeed alone. Asked only when history is not enough."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from atlas.models import Caller, Model, Place
from atlas.models.fence import Fence
from atlas.models.structured import ask_json
from atlas.schema import Dossier, Message, Outcome, Request, Task

PROBE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["auto", "paired", "coach"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["mode", "confidence"],
    "additionalProperties": False,
}
"""The probe's reply."""


class Probe:
    """Asks a model for the probability that the student solves the task alone."""

    def __init__(self, model: Model, *, evidence_limit: int, timeout_s: float) -> None:
        self._model = model
        self._evidence_limit = evidence_limit
        self._timeout_s = timeout_s
        self._static = files("atlas.triage").joinpath("prompts", "probe.md").read_text("utf-8").strip()

    async def confidence(self, task: Task, dossier: Dossier, outcomes: tuple[Outcome, ...], caller: Caller) -> float:
        """A probability in [0, 1].

        Raises:
            ModelError: the model failed or its reply cannot be read.
        """
        lines = [_line(outcome) for outcome in outcomes[: self._evidence_limit]]
        fence = Fence(caller.trace.session_id, "probe")
        parts = [fence.wrap("task", task.prompt)]
        parts += [f"Risk: {risk}" for risk in dossier.risks] + [f"Signal: {signal}" for signal in dossier.signals]
        parts.append("Earlier sessions:\n" + ("\n".join(lines) or "none"))
        return await ask_json(
            caller,
            self._model,
            Request(
                messages=(Message(role="system", content=self._static), Message(role="user", content="\n".join(parts))),
                json_schema=PROBE,
                max_output_tokens=500,
            ),
            Place(actor="probe", purpose="probe"),
            parse=lambda reply: float(reply["confidence"]),
            timeout_s=self._timeout_s,
        )


def _line(outcome: Outcome) -> str:
    alone = {True: "alone", False: "with help", None: "unknown"}[outcome.first_try]
    reward = "none" if outcome.reward is None else f"{outcome.reward:.2f}"
    return f"lane {outcome.lane}, solved {alone}, reward {reward}"
