"""A plan is executable or it is no plan."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from pydantic import ValidationError

from atlas.schema import Plan
from atlas.schema.errors import ModelBadReply


def parse_plan(text: str) -> Plan:
    """The plan in a JSON text.

    Raises:
        ModelBadReply: it is not a plan, an id occurs twice, a dependency is unknown, or the steps wait for each other.
    """
    try:
        plan = Plan.model_validate_json(text)
    except ValidationError as error:
        raise ModelBadReply(f"The plan is malformed: {error.errors()[0]['msg']}.", text=text) from error
    problem = plan_problem(plan)
    if problem:
        raise ModelBadReply(f"The plan cannot be executed: {problem}.", text=text)
    return plan


def plan_problem(plan: Plan) -> str | None:
    """Why a plan cannot be executed; None when it can."""
    ids = [step.id for step in plan.steps]
    if not ids:
        return "it has no steps"
    if len(set(ids)) < len(ids):
        return "two steps have the same id"
    unknown = {wanted for step in plan.steps for wanted in step.depends_on} - set(ids)
    if unknown:
        return f"a step depends on step {min(unknown)}, which does not exist"
    try:
        TopologicalSorter({step.id: step.depends_on for step in plan.steps}).prepare()
    except CycleError:
        return "its steps wait for each other in a circle"
    return None
