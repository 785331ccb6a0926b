"""On-policy distillation: a teacher tells its distribution at each token of replies that the student itself wrote.

Source: Agarwal et al., arXiv 2306.13649, algorithm 1.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from atlas.schema import Message
from atlas.schema.errors import ConfigError
from atlas.train.config import GkdConfig
from atlas.train.encoding import Codec
from atlas.train.examples import Example
from atlas.train.losses import LossRules
from atlas.train.rollouts import Writer
from atlas.train.rows import Batch, Row
from atlas.train.sft import order_of
from atlas.train.teachers import Teacher, View
from atlas.train.world import World


class Moment(NamedTuple):
    """One reply of an example: what the student and the teacher had read when it was due."""

    prompt: list[int]
    """The student's prompt."""
    teacher_prompt: list[int]
    """The teacher's, in its own tokenizer, under guidance where that is distilled."""
    reply: list[int]
    """The recorded reply, in the student's tokens."""


class Gkd:
    """Chooses per step, by lambda, between recorded replies and the student's own."""

    def __init__(
        self, examples: Sequence[Example], student: Codec, teacher: Teacher, *, config: GkdConfig, world: World
    ) -> None:
        """Raises ConfigError where no example has guidance and guidance is to be distilled."""
        self.rules = LossRules(beta=config.beta, temperature=config.temperature)
        self.updates = 1
        self._config = config
        self._world = world
        self._teacher = teacher
        guided = config.teacher_sees == "guidance"
        if guided and not any(one.guided for one in examples):
            raise ConfigError(
                "No example has guidance to distil.", "Set teacher_sees=prompt, or record paired sessions."
            )
        self._moments = [
            moment
            for example in examples  # Those that needed no guidance keep the student where it was right.
            for moment in moments(example, student, teacher.codec, guided=guided)
            if len(moment.prompt) + max(len(moment.reply), config.max_new_tokens) <= config.max_tokens
        ]
        if not self._moments:
            raise ConfigError("Every prompt with a reply is longer than max_tokens.", "Raise max_tokens.")

    async def batch(self, step: int, network: nn.Module) -> Batch:
        """See `Algorithm.batch`. The mean is over the learnt tokens of this process's rows, and over the processes."""
        config = self._config
        order = [self._moments[at] for at in order_of(len(self._moments), step, config.batch_size, config.seed)]
        mine = self._world.mine(list(enumerate(order)))
        own = random.Random(f"lambda/{config.seed}/{step}").random() < config.on_policy
        replies = [moment.reply for _, moment in mine]
        if own:
            writer = Writer(network, config.temperature, config.max_new_tokens)
            replies = [writer.write(moment.prompt, f"{config.seed}/{step}/{at}") for at, moment in mine]
        kept = [(moment, reply) for (_, moment), reply in zip(mine, replies, strict=True) if reply]
        targets = await self._teacher.targets([View(moment.teacher_prompt, reply) for moment, reply in kept])
        total = self._world.total(sum(len(reply) for _, reply in kept))
        rows = [
            _row(moment.prompt, reply, 1 / max(1.0, total), target)
            for (moment, reply), target in zip(kept, targets, strict=True)
        ]
        length = sum(len(reply) for _, reply in kept) / max(1, len(kept))
        return Batch(tuple(rows), {"on_policy": float(own), "reply_tokens": length})

    async def close(self) -> None:
        """See `Algorithm.close`."""


def moments(example: Example, student: Codec, teacher: Codec, *, guided: bool) -> list[Moment]:
    """The replies of an example."""
    told = example.guided if guided and example.guided else example.prompt
    found: list[Moment] = []
    before: list[Message] = []
    replies = student.replies(example)
    for message in example.reply:
        if message.role == "assistant":
            prompt = student.prompt((*example.prompt, *before), example.tools)
            other = teacher.prompt((*told, *before), example.tools)
            found.append(Moment(prompt, other, replies[len(found)]))
        before.append(message)
    return found


def _row(prompt: Sequence[int], reply: Sequence[int], weight: float, target: object) -> Row:
    weights = np.zeros(len(prompt) + len(reply), np.float32)
    weights[len(prompt) :] = weight
    return Row(ids=np.array([*prompt, *reply], np.int64), distil=weights, target=target)  # pyright: ignore[reportArgumentType]
