"""What the pocket teacher is taught: today's rules, with gaps; to verify, to review plans, to write lessons.

Its handbook is partly out of date, on purpose: of the changed rules it holds some only half (the right one among
another), and a few it has not heard of. So it is good, imperfect, and can be trained further.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache

from atlas.evaluate.desk.rules import NOUNS, Rule, all_rules, legacy, today
from atlas.evaluate.desk.tasks import Desk, DeskTask, Wish, wishes, wishes_of
from atlas.evaluate.desk.wording import guidance_words, opening, rule_words
from atlas.evaluate.desk.world import Ticket, operands, ticket_of
from atlas.memory.curator import curator_messages, curator_prompt
from atlas.models import Fence
from atlas.roles import messages as prompts
from atlas.schema import (
    Attempt,
    Message,
    Plan,
    Recalled,
    Reward,
    Session,
    Step,
    ToolSpec,
    ToolUse,
    now,
)
from pocket.sample import (
    Sample,
    final_words,
    good_plan,
    receipt_of,
    session_id,
    tool_use,
)
from pocket.student import spoiled_plan

HALF_KNOWN = {"acme": (2,), "globex": (3, 5)}
"""Of a client's changed operations, by frequency within the key, those that the handbook holds beside another rule."""
NOT_HEARD_OF = (4,)
"""Those whose change mostly escaped the handbook."""
MISCOPIED = 0.06
"""Share of calls in which an object is miscopied."""
NOTHING = Recalled(audience="teacher", version=0)


@cache
def belief(wish: Wish) -> tuple[tuple[Rule, float], ...]:
    """What the handbook says of a wish: rules with their probabilities."""
    now, old = (
        today(wish.desk, wish.client, wish.operation),
        legacy(wish.desk, wish.operation),
    )
    if not wish.changed:
        return ((now, 1.0),)
    rng = random.Random(f"belief/{wish.key}/{wish.operation}")
    rank = [each for each in wishes_of(wish.key) if each.changed].index(wish)
    others = [rule for rule in all_rules(wish.desk) if rule not in (now, old)]
    if rank in HALF_KNOWN[wish.client]:
        return ((now, 0.35), (rng.choice(others), 0.65))
    if rank in NOT_HEARD_OF:
        return ((now, 0.25), (old, 0.75))
    return ((now, 0.97), (rng.choice(others), 0.03))


class TeacherCorpus:
    """Samples of the teacher's roles, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"teacher/{seed}")
        self._desk = Desk(split="train")

    def buckets(self) -> dict[str, tuple[float, Callable[[list[ToolSpec]], Sample]]]:
        """Role -> its share of the samples, and the function that draws one."""
        return {
            "verify": (0.55, self.verify),
            "plan": (0.08, self.plan),
            "curate": (0.22, self.curate),
            "handbook": (0.15, self.handbook),
        }

    def tools(self) -> list[ToolSpec]:
        """A teacher has no tools."""
        return []

    def verify(self, tools: list[ToolSpec]) -> Sample:
        """An answer with one operation or two, or one step of two."""
        kind = self._rng.choices(("single", "ticket", "step"), (0.62, 0.16, 0.22))[0]
        make = self._desk.single if kind == "single" else self._desk.ticket
        made = make(self._rng.choice(wishes()), self._rng)
        beliefs = [self._draw(wish) for wish in made.wishes]
        work = self._work(made, beliefs)
        step: Step | None = None
        if kind == "step":
            at = self._rng.randrange(2)
            step = good_plan(made)[at]
            work, beliefs, made_ops = [work[at]], [beliefs[at]], [made.wishes[at]]
        else:
            made_ops = list(made.wishes)
        attempt = Attempt(
            output=final_words([use for _, use in work]),
            tools=tuple(use for _, use in work),
        )
        words = [
            guidance_words(wish.desk, wish.operation, wanted) for wish, wanted in zip(made_ops, beliefs, strict=True)
        ]
        accepted = all(rule == wanted for wanted, (rule, _) in zip(beliefs, work, strict=True))
        said = prompts.teacher_verify(
            session_id(self._rng),
            made.task,
            step,
            attempt,
            NOTHING,
            prompts.role_prompt("teacher_verify"),
        )
        return _answered(said, review_json(" ".join(words), accepted=accepted))

    def plan(self, tools: list[ToolSpec]) -> Sample:
        """A plan, sound or spoiled."""
        make = self._desk.ticket if self._rng.random() < 0.75 else self._desk.single
        made = make(self._rng.choice(wishes()), self._rng)
        steps, guidance = good_plan(made), ""
        if self._rng.random() < 0.5:
            steps, guidance = spoiled_plan(steps, self._rng)
        said = prompts.teacher_plan(
            session_id(self._rng),
            made.task,
            Plan(steps=steps),
            NOTHING,
            prompts.role_prompt("teacher_plan"),
        )
        return _answered(said, review_json(guidance, accepted=not guidance))

    def curate(self, tools: list[ToolSpec]) -> Sample:
        """Lessons from a session: what guidance brought success, or what the handbook says of a lonely failure."""
        made = (self._desk.single if self._rng.random() < 0.75 else self._desk.ticket)(
            self._rng.choice(wishes()), self._rng
        )
        ticket = ticket_of(made.task)
        rules = [self._rng.choice((legacy(w.desk, w.operation), self._draw(w), self._draw(w))) for w in made.wishes]
        attempts = [self._attempt(ticket, rules, 1, None)]
        guided: dict[int, Rule] = {}
        for number in range(2, 2 + self._rng.choices((0, 1, 2), (0.4, 0.42, 0.18))[0]):
            guided = {}
            for at in [at for at in range(len(rules)) if self._rng.random() < 0.6] or [0]:
                guided[at] = self._new_rule(made.wishes[at], rules[at])
                rules[at] = guided[at]
            words = " ".join(
                guidance_words(ticket.desk, ticket.jobs[at].operation, rule) for at, rule in sorted(guided.items())
            )
            attempts.append(self._attempt(ticket, rules, number, words))
        reward = self._rng.choices((1.0, 0.0, None), (0.5, 0.38, 0.12))[0]
        lessons: list[tuple[str, Rule]] = []
        if reward != 0.0:
            lessons = [(ticket.jobs[at].operation, rule) for at, rule in sorted(guided.items())]
        elif len(attempts) == 1:
            wanted = [(wish.operation, self._draw(wish), rule) for wish, rule in zip(made.wishes, rules, strict=True)]
            lessons = [(operation, rule) for operation, rule, used in wanted if rule != used]
        session = Session(
            id=session_id(self._rng),
            task=made.task,
            attempts=tuple(attempts),
            reward=Reward(value=reward),
            created_at=now(),
        )
        return _answered(curator_messages(session, curator_prompt()), entries_json(ticket, lessons))

    def handbook(self, tools: list[ToolSpec]) -> Sample:
        """A page of the handbook, read aloud: many rules in few tokens, in the words of guidance."""
        wish = self._rng.choice(wishes())
        page = self._rng.sample(wishes_of(wish.key), 6)
        asked = f"{opening(wish.desk, wish.client, 'train', self._rng)} {', '.join(each.operation for each in page)}."
        fence = Fence(session_id(self._rng), "verify")
        system = Message(role="system", content=prompts.role_prompt("teacher_verify"))
        rules = " ".join(guidance_words(each.desk, each.operation, self._draw(each)) for each in page)
        return _answered((system, prompts.user(fence.wrap("task", asked))), rules)

    def _draw(self, wish: Wish) -> Rule:
        options = belief(wish)
        return self._rng.choices([rule for rule, _ in options], [weight for _, weight in options])[0]

    def _work(self, made: DeskTask, beliefs: list[Rule]) -> list[tuple[Rule | None, ToolUse]]:
        """Calls by the handbook, the old convention, or another rule; the rule is None where an object is miscopied."""
        ticket = ticket_of(made.task)
        done: list[tuple[Rule | None, ToolUse]] = []
        for job, wish, wanted in zip(ticket.jobs, made.wishes, beliefs, strict=True):
            dice = self._rng.random()
            old = legacy(wish.desk, wish.operation)
            rule = wanted if dice < 0.48 else old if dice < 0.78 else self._new_rule(wish, wanted)
            objects = operands(ticket.desk, job, [receipt_of(use) for _, use in done])
            spoiled = self._rng.random() < MISCOPIED
            done.append((None if spoiled else rule, tool_use(rule, self._miscopied(objects) if spoiled else objects)))
        return done

    def _miscopied(self, objects: tuple[str, str]) -> tuple[str, str]:
        """The objects as a careless student writes them: another kind, another id, or twice the same."""
        (kind, name), (other, last) = (each.split(" ") for each in objects)
        wrong_kind = self._rng.choice([each for kinds in NOUNS.values() for each in kinds if each not in (kind, other)])
        turned = name[1:] + name[0]
        first = self._rng.choice((f"{wrong_kind} {name}", f"{kind} {last}", f"{kind} {turned}"))
        pair = (first if first != objects[0] else f"{wrong_kind} {name}", objects[1])
        return pair if self._rng.random() < 0.5 else (objects[0], f"{other} {name}")

    def _new_rule(self, wish: Wish, used: Rule) -> Rule:
        """Another rule: often only the order or only the tool differs."""
        swapped = Rule(tool=used.tool, first=0 if used.first else 1)
        if self._rng.random() < 0.35:
            return swapped
        drawn = self._draw(wish)
        if drawn != used and self._rng.random() < 0.5:
            return drawn
        return self._rng.choice([rule for rule in all_rules(wish.desk) if rule != used])

    def _attempt(self, ticket: Ticket, rules: list[Rule], number: int, guidance: str | None) -> Attempt:
        uses: list[ToolUse] = []
        for job, rule in zip(ticket.jobs, rules, strict=True):
            uses.append(tool_use(rule, operands(ticket.desk, job, [receipt_of(use) for use in uses])))
        return Attempt(
            number=number,
            output=final_words(uses),
            tools=tuple(uses),
            guidance=guidance,
        )


def review_json(guidance: str, *, accepted: bool) -> str:
    """A review. The teacher says what it would have the student do before it says whether that was done."""
    return json.dumps({"guidance": guidance or None, "accepted": accepted})


def entries_json(ticket: Ticket, lessons: list[tuple[str, Rule]]) -> str:
    """The curator's reply."""
    entries = [
        {
            "audience": "student",
            "cue": operation,
            "action": rule_words(ticket.desk, operation, rule),
            "expected_effect": "",
        }
        for operation, rule in lessons
    ]
    return json.dumps({"entries": entries})


def _answered(messages: tuple[Message, ...], reply: str) -> Sample:
    return Sample(messages=(*messages, Message(role="assistant", content=reply)), learn=(True,))
