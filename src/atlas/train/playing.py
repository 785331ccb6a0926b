"""Rollouts in groups: of a teacher with the frozen student in the loop, of a student alone, and recorded ones."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from torch import nn

from atlas.schema import Task, content_hash
from atlas.schema.errors import AgentError, AtlasError, ConfigError, ModelBadReply
from atlas.train.config import GrpoConfig
from atlas.train.encoding import Codec, Sample
from atlas.train.examples import Example
from atlas.train.rollouts import seed_of, served_weights
from atlas.train.select import contains, golds_of
from atlas.train.sft import order_of
from atlas.train.stage import Draft, Policy, Spoken, Stage
from atlas.train.teaching import Outcome, teaching_reward
from atlas.train.world import World


@dataclass(frozen=True, slots=True)
class Tried:
    """One sample of a group."""

    sequences: tuple[tuple[list[int], tuple[tuple[int, int], ...]], ...]
    """Token ids of each conversation it took, and the spans of them that were sampled."""
    reward: float | None
    """None where it is unknown: it is masked."""


@dataclass(frozen=True, slots=True)
class Group:
    """Samples on one question, compared with each other."""

    question: str
    """Content hash."""
    tried: tuple[Tried, ...]
    """All of them, masked ones included."""


@dataclass
class Tally:
    """What was seen while playing, as means."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, **seen: float) -> None:
        """One observation of each."""
        for name, value in seen.items():
            self.values[name].append(value)

    def means(self) -> dict[str, float]:
        """The mean of each."""
        return {name: fmean(values) for name, values in self.values.items()}


class Rollouts(Protocol):
    """Where groups come from."""

    fresh: bool
    """Whether the samples are from the model as it is now."""

    async def groups(self, step: int, network: nn.Module, tally: Tally) -> list[Group]:
        """This process's groups of a step; they depend on seed, step and weights alone."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class Played(ABC):
    """What both online kinds share: questions in their order, the policy with the present weights."""

    fresh = True

    def __init__(
        self, tasks: Sequence[Task], stage: Stage, policy: Policy, codec: Codec, *, config: GrpoConfig, world: World
    ) -> None:
        if not tasks:
            raise ConfigError("There is no question to play.", "Approve sessions with a reward.")
        self.tasks = tasks
        self.stage = stage
        self.policy = policy
        self.codec = codec
        self.config = config
        self.world = world

    async def groups(self, step: int, network: nn.Module, tally: Tally) -> list[Group]:
        """See `Rollouts`."""
        seed = self.config.seed
        self.policy.model.use(served_weights(network))
        chosen = order_of(len(self.tasks), step, self.config.questions, seed)
        return [await self.group(self.tasks[at], f"{seed}/{step}/{at}", tally) for at in self.world.mine(chosen)]

    async def close(self) -> None:
        """See `Rollouts`."""
        await self.stage.close()

    @abstractmethod
    async def group(self, task: Task, seed: str, tally: Tally) -> Group:
        """The samples on one question."""

    def sequences(self, spoken: Sequence[Spoken]) -> tuple[tuple[list[int], tuple[tuple[int, int], ...]], ...]:
        """The policy's calls as token ids, each with the span it sampled."""
        told: list[tuple[list[int], tuple[tuple[int, int], ...]]] = []
        for request, completion in spoken:
            tools = () if request.tool_choice == "none" else request.tools
            prompt = self.codec.prompt(request.messages, tools)
            ids = [*prompt, *completion.token_ids]
            told.append((ids, ((len(prompt), len(ids)),)))
        return tuple(told)


class TeacherRollouts(Played):
    """The policy reviews a draft of the frozen student, which tries again; the verifier says what that was worth."""

    def __init__(
        self, tasks: Sequence[Task], stage: Stage, policy: Policy, codec: Codec, *, config: GrpoConfig, world: World
    ) -> None:
        super().__init__(tasks, stage, policy, codec, config=config, world=world)
        self._drafts: dict[str, list[Draft]] = {}

    async def group(self, task: Task, seed: str, tally: Tally) -> Group:
        """See `Played`."""
        drafts = await self._drafts_of(task)
        tally.add(no_draft=float(not drafts))
        if not drafts:
            return Group(task.identity, ())
        draft = drafts[seed_of(seed) % len(drafts)]
        p_base = fmean(one.value for one in drafts)
        taught: dict[str, float | None] = {}
        tried: list[Tried] = []
        for number in range(self.config.group):
            self.policy.begin(f"{seed}/{number}")
            reward = await self._reward(task, draft, p_base, taught, tally)
            tally.add(masked=float(reward is None))
            if reward is not None:
                tally.add(reward=reward)
            tried.append(Tried(self.sequences(self.policy.spoken[:1]), reward))
        return Group(task.identity, tuple(tried))

    async def _drafts_of(self, task: Task) -> list[Draft] | None:
        """The frozen student's own tries, made once; None after an outage, so that they are tried again."""
        known = self._drafts.get(task.identity)
        if known is None:
            known = []
            for number in range(self.config.teaching.base_samples):
                self.stage.forget()
                try:
                    name = content_hash(str(self.config.seed), task.identity, str(number))
                    draft = await self.stage.draft(task, name[:16])
                except AtlasError:  # An outage masks; it is counted as `no_draft` and never a value.
                    return None
                if draft is not None:
                    known.append(draft)
            self._drafts[task.identity] = known
        return known

    async def _reward(
        self, task: Task, draft: Draft, p_base: float, taught: dict[str, float | None], tally: Tally
    ) -> float | None:
        """What one sampled word is worth; None where nobody can say."""
        rules = self.config.teaching
        try:
            review = await self.stage.review(task, draft)
            guidance = review.guidance if review is not None else None
            value: float | None = draft.value
            if guidance is not None:
                if guidance not in taught:
                    taught[guidance] = await self._taught(task, draft, guidance)
                value = taught[guidance]
        except AtlasError:  # An outage masks; it is counted as `masked` and never a value.
            return None
        if value is None or not self.policy.spoken:
            return None
        golds = golds_of(task, self.config.data.gold_keys)
        leaked = any(contains(guidance or "", gold) for gold in golds)
        tokens = len(self.policy.spoken[0].completion.token_ids)
        outcome = Outcome(p_base=p_base, p_taught=value, tokens=tokens, leaked=leaked, malformed=review is None)
        tally.add(
            p_base=p_base,
            p_taught=value,
            leaked=float(leaked),
            malformed=float(review is None),
            accepted=float(review is not None and review.accepted),
            teacher_tokens=tokens,
        )
        return teaching_reward(outcome, rules)

    async def _taught(self, task: Task, draft: Draft, guidance: str) -> float | None:
        self.stage.forget()
        values = [await self.stage.taught(task, draft, guidance) for _ in range(self.config.teaching.taught_samples)]
        known = [value for value in values if value is not None]
        return fmean(known) if known else None


class StudentRollouts(Played):
    """The policy is the student: whole sessions through its lane, rewarded as sessions are."""

    async def group(self, task: Task, seed: str, tally: Tally) -> Group:
        """See `Played`."""
        tried: list[Tried] = []
        for number in range(self.config.group):
            self.policy.begin(f"{seed}/{number}")
            try:
                record = await self.stage.alone(task, content_hash(seed, str(number))[:16])
                reward = await self.stage.reward(record)
            except (ModelBadReply, AgentError):  # The policy's own failure, such as words without end, is no outage.
                reward = 0.0
            except AtlasError:  # An outage masks; it is counted as `masked` and never a value.
                reward = None
            tally.add(masked=float(reward is None))
            if reward is not None:
                tally.add(reward=reward)
            tried.append(Tried(self.sequences(self.policy.spoken), reward))
        return Group(task.identity, tuple(tried))


class RecordedGroups:
    """Groups of recorded tries at the same thing, whose values differ."""

    fresh = False

    def __init__(self, examples: Sequence[Example], codec: Codec, config: GrpoConfig, world: World) -> None:
        """Raises ConfigError where no group has two different values."""
        self._config = config
        self._world = world
        found: dict[tuple[object, ...], list[Example]] = defaultdict(list)
        for example in examples:
            found[example.question, example.purpose, example.step, example.attempt].append(example)
        differing = [group for group in found.values() if len({example.value for example in group}) > 1]
        if not differing:
            raise ConfigError(
                f"None of the {len(found)} groups of recorded tries has two different rewards.",
                "Record more tries at the same tasks, or set rollouts=online.",
            )
        self._groups = [_recorded(group, codec, config.max_tokens) for group in differing]

    async def groups(self, step: int, network: nn.Module, tally: Tally) -> list[Group]:
        """See `Rollouts`."""
        order = order_of(len(self._groups), step, self._config.questions, self._config.seed)
        chosen = [self._groups[at] for at in self._world.mine(order)]
        for group in chosen:
            for one in group.tried:
                if one.reward is not None:
                    tally.add(reward=one.reward)
        return chosen

    async def close(self) -> None:
        """See `Rollouts`."""


def _recorded(examples: Sequence[Example], codec: Codec, longest: int) -> Group:
    tried: list[Tried] = []
    for example in examples:
        rows: list[Sample] = [row for row in codec.rows(example) if len(row.ids) <= longest]
        tried.append(Tried(tuple((list(row.ids), row.learn) for row in rows), example.value))
    return Group(examples[0].question, tuple(tried))
