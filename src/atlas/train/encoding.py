"""From a conversation to token ids, and which of them are learnt: with the tokenizer and template that also serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atlas.models.rendering import ChatTemplate
from atlas.models.tokenizer import Tokenizer
from atlas.schema import Message, Noun, ToolSpec
from atlas.schema.errors import TrainError
from atlas.train.examples import Example


class Sample(Noun):
    """One training row."""

    ids: tuple[int, ...]
    """Tokens of prompt and reply."""
    learn: tuple[tuple[int, int], ...]
    """Spans [start, stop) of `ids` that the role itself wrote, each reply's end token included."""
    exact: bool
    """Whether every learnt token is one that was sampled, not one that a tokenizer made of the text again."""
    example: Example
    """What it was made of."""

    @property
    def learnt(self) -> int:
        """How many tokens are learnt."""
        return sum(stop - start for start, stop in self.learn)


@dataclass
class _Row:
    """A row while it grows."""

    ids: list[int] = field(default_factory=list[int])
    spans: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    exact: bool = True

    def add(self, before: list[int], reply: list[int], *, exact: bool) -> None:
        """One more reply behind everything that was said before it."""
        self.spans.append((len(before), len(before) + len(reply)))
        self.ids = before + reply
        self.exact = self.exact and exact


class Codec:
    """A checkpoint's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, *, name: str = "") -> None:
        """`name` is the checkpoint's; sampled ids are trusted only where the same model sampled them."""
        self.tokenizer = tokenizer
        self._template = template
        self._name = name

    @classmethod
    def load(cls, folder: Path, *, name: str = "") -> Codec:
        """The codec of a checkpoint folder.

        Raises:
            ConfigError: a file is missing, damaged, or of a kind that is not supported.
        """
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        return cls(tokenizer, ChatTemplate.load(folder / "tokenizer_config.json", shield=tokenizer.shield), name=name)

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
        """The tokens a serving model reads before it answers."""
        return self.tokenizer.encode_chat(self._template.render(messages, tools))

    def rows(self, example: Example, *, guided: bool = False) -> list[Sample]:
        """An example as rows; with `guided` behind the prompt under guidance.

        One row holds the whole conversation as long as the template only appends. Where a later prompt writes earlier
        turns differently, as some templates do, a new row begins: each reply is learnt behind the prompt it was given.

        Raises:
            TrainError: the template renders an answer elsewhere than behind its prompt.
        """
        said = list(example.guided if guided and example.guided else example.prompt)
        rows: list[_Row] = []
        spoken = 0
        for message in example.reply:
            said.append(message)
            if message.role != "assistant":
                continue
            before = self.prompt(said[:-1], example.tools)
            reply = self._sampled(example, spoken)
            if not rows or before[: len(rows[-1].ids)] != rows[-1].ids:
                rows.append(_Row())
            rows[-1].add(before, reply or self._rendered(example, said, before), exact=reply is not None)
            spoken += 1
        return [
            Sample(ids=tuple(row.ids), learn=tuple(row.spans), exact=row.exact, example=example)
            for row in rows
            if row.spans
        ]

    def replies(self, example: Example) -> list[list[int]]:
        """The tokens of each of the role's messages, by themselves.

        Raises:
            TrainError: see `rows`.
        """
        return [list(row.ids[start:stop]) for row in self.rows(example) for start, stop in row.learn]

    def _rendered(self, example: Example, said: Sequence[Message], before: list[int]) -> list[int]:
        """The tokens of the last message as the template writes it, its end token included."""
        whole = self.tokenizer.encode_chat(self._template.render(said, example.tools, ask=False))
        if whole[: len(before)] != before:
            raise TrainError(
                f"The chat template renders an answer not behind its prompt (session {example.session_id}).",
                "Use a template whose add_generation_prompt opens the assistant's turn.",
            )
        return whole[len(before) :]

    def _sampled(self, example: Example, number: int) -> list[int] | None:
        """The ids that were sampled for an assistant message, where this very model sampled them."""
        if not example.sampled or example.model != self._name or not example.sampled[number]:
            return None
        return list(example.sampled[number])


class Encoded(Noun):
    """Examples as rows."""

    samples: tuple[Sample, ...]
    """Those that fit."""
    too_long: int
    """Left out because they have more tokens than the model reads."""


def encode(examples: Sequence[Example], codec: Codec, *, max_tokens: int) -> Encoded:
    """Every example that fits as a sample.

    Raises:
        TrainError: none fits, or the template cannot be trained with.
    """
    samples = [row for example in examples for row in codec.rows(example)]
    fitting = tuple(sample for sample in samples if len(sample.ids) <= max_tokens and sample.learn)
    if samples and not fitting:
        shortest = min(len(sample.ids) for sample in samples)
        raise TrainError(
            f"All {len(samples)} examples are longer than {max_tokens} tokens; the shortest has {shortest}.",
            "Raise max_tokens, or use a checkpoint with a longer context.",
        )
    return Encoded(samples=fitting, too_long=len(samples) - len(fitting))
