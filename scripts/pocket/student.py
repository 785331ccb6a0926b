"""What the pocket student is taught: the old conventions, obedience to playbook and guidance, and the plan's forms.

Only old conventions occur without guidance, and the new ones occur nowhere: following a lesson about them is
generalisation, not memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from atlas.evaluate.desk.rules import NOUNS, Rule, legacy, operations
from atlas.evaluate.desk.tasks import Desk, DeskTask, object_ids, wishes
from atlas.evaluate.desk.wording import guidance_words
from atlas.evaluate.desk.world import Ticket, operands, ticket_of
from atlas.roles import messages as prompts
from atlas.schema import Entry, Message, Plan, Step, ToolSpec, ToolUse
from pocket.sample import (
    Sample,
    desk_specs,
    entry,
    final_words,
    free_rules,
    good_plan,
    recalled,
    receipt_of,
    said,
    tool_use,
)

HABIT = 0.88
"""How often the student's teachers of old followed their own convention."""


class StudentCorpus:
    """Samples of the student's roles, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"student/{seed}")
        self._desk = Desk(split="train")

    def buckets(self) -> dict[str, tuple[float, Callable[[list[ToolSpec]], Sample]]]:
        """Role -> its share of the samples, and the function that draws one given the tools on the table."""
        return {
            "answer": (0.40, self.answer),
            "ticket": (0.15, self.ticket),
            "step": (0.17, self.step),
            "plan": (0.14, self.plan),
            "synthesis": (0.06, self.synthesis),
            "recite": (0.08, self.recite),
        }

    def tools(self) -> list[ToolSpec]:
        """The tools on the table of one batch: all in order mostly, sometimes shuffled."""
        specs = desk_specs(None)
        if self._rng.random() < 0.3:
            self._rng.shuffle(specs)
        return specs

    def answer(self, tools: list[ToolSpec]) -> Sample:
        """A task with one operation, with or without lessons, and perhaps a retry."""
        made = self._desk.single(self._rng.choice(wishes()), self._rng)
        return self._worked(made, prompts.student_answer, tools)

    def ticket(self, tools: list[ToolSpec]) -> Sample:
        """A task with two operations, done in one turn."""
        made = self._desk.ticket(self._rng.choice(wishes()), self._rng)
        return self._worked(made, prompts.student_answer, tools)

    def step(self, tools: list[ToolSpec]) -> Sample:
        """One step of a plan."""
        made = self._desk.ticket(self._rng.choice(wishes()), self._rng)
        ticket, plan = ticket_of(made.task), good_plan(made)
        at = self._rng.randrange(2)
        earlier = tool_use(self._unguided(ticket, 0), operands(ticket.desk, ticket.jobs[0], ()))
        results = [(plan[0], final_words([earlier]))] if plan[at].depends_on else []
        entries, rules = self._lessons(ticket)
        opening = prompts.student_step(
            made.task,
            plan[at],
            results,
            recalled(entries),
            prompts.role_prompt("student"),
        )
        job = Ticket(desk=ticket.desk, client=ticket.client, jobs=(ticket.jobs[at],))
        known = {0: rules[at]} if at in rules else {}
        return self._tries(list(opening), job, known, tools, ids=[receipt_of(earlier)])

    def plan(self, tools: list[ToolSpec]) -> Sample:
        """A plan, or a second one after a review."""
        make = self._desk.ticket if self._rng.random() < 0.75 else self._desk.single
        made = make(self._rng.choice(wishes()), self._rng)
        entries, _ = self._lessons(ticket_of(made.task))
        good = good_plan(made)
        messages = list(prompts.student_plan(made.task, recalled(entries), prompts.role_prompt("student_plan")))
        learn = [True]
        if self._rng.random() < 0.25:
            flawed, guidance = spoiled_plan(good, self._rng)
            if guidance:
                first = Message(role="assistant", content=Plan(steps=flawed).model_dump_json())
                messages = list(prompts.student_retry((*messages, first), guidance))
                learn = [False, True]
        messages.append(Message(role="assistant", content=Plan(steps=good).model_dump_json()))
        return Sample(messages=tuple(messages), learn=tuple(learn))

    def synthesis(self, tools: list[ToolSpec]) -> Sample:
        """The answer from the results of two steps."""
        made = self._desk.ticket(self._rng.choice(wishes()), self._rng)
        ticket, steps = ticket_of(made.task), good_plan(made)
        uses: list[ToolUse] = []
        for number, job in enumerate(ticket.jobs):
            uses.append(
                tool_use(
                    self._unguided(ticket, number),
                    operands(ticket.desk, job, [receipt_of(use) for use in uses]),
                )
            )
        results = [(step, final_words([use])) for step, use in zip(steps, uses, strict=True)]
        static = prompts.role_prompt("student_synthesis")
        messages = prompts.student_synthesis(made.task, results, static)
        return Sample(
            messages=(*messages, Message(role="assistant", content=final_words(uses))),
            learn=(True,),
        )

    def recite(self, tools: list[ToolSpec]) -> Sample:
        """Objects said again in another order: practice in finding the id that belongs to a kind."""
        kinds = [kind for kinds in NOUNS.values() for kind in kinds]
        named = [
            f"{kind} {name}"
            for kind, name in zip(self._rng.sample(kinds, 8), self._rng.sample(object_ids("train"), 8), strict=True)
        ]
        said = prompts.user("Task: " + "; ".join(named))
        self._rng.shuffle(named)
        system = Message(role="system", content=prompts.role_prompt("student_synthesis"))
        return Sample(messages=(system, said, Message(role="assistant", content="; ".join(named))), learn=(True,))

    def _worked(
        self,
        made: DeskTask,
        opening: Callable[..., tuple[Message, ...]],
        tools: list[ToolSpec],
    ) -> Sample:
        ticket = ticket_of(made.task)
        entries, rules = self._lessons(ticket)
        messages = opening(made.task, recalled(entries), prompts.role_prompt("student"))
        return self._tries(list(messages), ticket, rules, tools)

    def _tries(
        self,
        messages: list[Message],
        ticket: Ticket,
        rules: dict[int, Rule],
        tools: list[ToolSpec],
        *,
        ids: list[str] | None = None,
    ) -> Sample:
        """First try by lesson or habit, then up to two retries under guidance."""
        learn: list[bool] = []
        used = [rules.get(number) or self._unguided(ticket, number) for number in range(len(ticket.jobs))]
        trials = self._rng.choices((1, 2, 3), (0.55, 0.33, 0.12))[0]
        for trial in range(trials):
            if trial:
                guidance = self._guide(ticket, used)
                messages = list(prompts.student_retry(messages, guidance))
            uses: list[ToolUse] = []
            for job, rule in zip(ticket.jobs, used, strict=True):
                uses.append(
                    tool_use(
                        rule,
                        operands(ticket.desk, job, ids or [receipt_of(use) for use in uses]),
                    )
                )
            messages += said(uses, final_words(uses))
            learn += [True] * (len(uses) + 1)
        return Sample(messages=tuple(messages), learn=tuple(learn), tools=tuple(tools))

    def _guide(self, ticket: Ticket, used: list[Rule]) -> str:
        """Words of a reviewer about one or both operations; `used` becomes what they ask for."""
        chosen = [number for number in range(len(used)) if self._rng.random() < 0.6] or [self._rng.randrange(len(used))]
        words: list[str] = []
        for number in chosen:
            operation = ticket.jobs[number].operation
            if len(chosen) == 1 or self._rng.random() < 0.6:
                options = [rule for rule in free_rules(ticket.desk, operation) if rule != used[number]]
                used[number] = self._rng.choice(options)
            words.append(guidance_words(ticket.desk, operation, used[number]))
        return " ".join(words)

    def _unguided(self, ticket: Ticket, number: int) -> Rule:
        """The old convention mostly; else a swapped order, or any other rule that training may use."""
        operation = ticket.jobs[number].operation
        habit = legacy(ticket.desk, operation)
        if self._rng.random() < HABIT:
            return habit
        free = free_rules(ticket.desk, operation)
        swapped = Rule(tool=habit.tool, first=0 if habit.first else 1)
        return swapped if swapped in free and self._rng.random() < 0.5 else self._rng.choice(free)

    def _lessons(self, ticket: Ticket) -> tuple[list[Entry], dict[int, Rule]]:
        """Up to three playbook entries, and the rules they give for the ticket's operations."""
        count = self._rng.choices((0, 1, 2, 3), (0.25, 0.25, 0.25, 0.25))[0]
        own = {job.operation: number for number, job in enumerate(ticket.jobs)}
        named = [name for name in own if self._rng.random() < 0.85][:count]
        others = [name for name in operations(ticket.desk) if name not in own]
        named += self._rng.sample(others, count - len(named))
        self._rng.shuffle(named)
        rules: dict[int, Rule] = {}
        entries: list[Entry] = []
        for place, name in enumerate(named):
            rule = self._rng.choice(free_rules(ticket.desk, name))
            entries.append(entry(ticket.desk, name, rule, place))
            if name in own:
                rules[own[name]] = rule
        return entries, rules


def spoiled_plan(good: tuple[Step, ...], rng: random.Random) -> tuple[tuple[Step, ...], str]:
    """A plan with one fault and the reviewer's words on it; no words where this plan cannot be spoiled so."""
    if len(good) < 2:
        return good, ""
    if rng.random() < 0.5 and good[1].depends_on:
        return (
            good[0],
            good[1].model_copy(update={"depends_on": ()}),
        ), "Step 2 needs the result of step 1."
    drop = rng.randrange(2)
    kept = good[1 - drop].model_copy(update={"id": 1, "depends_on": ()})
    return (kept,), f"Add a step for {good[drop].description.split(' ', 1)[0]}."
