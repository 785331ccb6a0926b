"""What a trainer will see, for a person: counts, then samples with every learnt token marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from atlas.schema import Noun
from atlas.train.encoding import Codec, Encoded, Sample
from atlas.train.select import Chosen
from atlas.train.source import Read

OPEN, CLOSE = "⟦", "⟧"
"""Around the text that is learnt."""


class Summary(Noun):
    """A training set in numbers."""

    sessions: int
    """Sessions that passed the filters."""
    unusable: int
    """Of these, those without a rewarded example of the role."""
    train: int
    """Examples to learn from."""
    evaluation: int
    """Examples held out."""
    leaked: int
    """Left out: the prompt held the expected answer."""
    doubles: int
    """Left out: equal to an earlier one."""
    capped: int
    """Left out: their learning key had its share."""
    weak: int
    """Left out: value too small or unknown."""
    too_long: int
    """Left out: longer than the model reads."""
    tokens: int
    """Tokens of all training rows."""
    learnt_tokens: int
    """Of these, those that are learnt."""
    exact: int
    """Rows whose learnt tokens are the very ones that were sampled."""
    purposes: dict[str, int]
    """Training examples by purpose."""
    keys: dict[str, int]
    """Training examples by learning key."""


def summary(read: Read, chosen: Chosen, encoded: Encoded) -> Summary:
    """The numbers of a training set."""
    return Summary(
        sessions=read.sessions,
        unusable=read.unusable,
        train=len(chosen.train),
        evaluation=len(chosen.evaluation),
        leaked=chosen.leaked,
        doubles=chosen.doubles,
        capped=chosen.capped,
        weak=chosen.weak,
        too_long=encoded.too_long,
        tokens=sum(len(sample.ids) for sample in encoded.samples),
        learnt_tokens=sum(sample.learnt for sample in encoded.samples),
        exact=sum(sample.exact for sample in encoded.samples),
        purposes=dict(Counter(example.purpose for example in chosen.train)),
        keys=dict(Counter(example.learning_key for example in chosen.train)),
    )


def summary_text(found: Summary) -> Iterator[str]:
    """The numbers, a line each."""
    yield f"sessions    {found.sessions:,} ({found.unusable:,} without a rewarded example of this role)"
    yield f"train       {found.train:,} examples"
    yield f"evaluation  {found.evaluation:,} examples, of other questions"
    reasons = ("leaked", "doubles", "capped", "weak", "too_long")
    left = ", ".join(f"{getattr(found, name):,} {name.replace('_', ' ')}" for name in reasons)
    yield f"left out    {left}"
    yield f"tokens      {found.tokens:,}, of them {found.learnt_tokens:,} learnt"
    yield f"exact       {found.exact:,} rows hold the sampled token ids"
    yield f"purposes    {_counts(found.purposes)}"
    yield f"keys        {_counts(found.keys)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"


def sample_text(sample: Sample, codec: Codec) -> Iterator[str]:
    """A sample as the model reads it; what stands between the brackets is learnt, and nothing else."""
    example = sample.example
    value = "unknown" if example.value is None else f"{example.value:.2f}"
    yield (
        f"session {example.session_id}, {example.role} {example.purpose}, step {example.step}, try {example.attempt}, "
        f"value {value}, {len(sample.ids)} tokens, {sample.learnt} learnt, "
        f"{'sampled ids' if sample.exact else 'tokenized again'}"
    )
    text, at = "", 0
    for start, stop in sample.learn:
        text += codec.tokenizer.decode(sample.ids[at:start])
        text += OPEN + codec.tokenizer.decode(sample.ids[start:stop]) + CLOSE
        at = stop
    yield text + codec.tokenizer.decode(sample.ids[at:])


def token_lines(sample: Sample, codec: Codec, *, width: int = 24) -> Iterator[str]:
    """Each token of a sample with its number, its id, its weight in the loss and its text."""
    learnt = _weights(sample)
    for place, (token, weight) in enumerate(zip(sample.ids, learnt, strict=True)):
        yield f"{place:6d} {token:6d} {weight:4.1f}  {codec.tokenizer.decode([token])[:width]!r}"


def _weights(sample: Sample) -> Sequence[float]:
    weights = [0.0] * len(sample.ids)
    for start, stop in sample.learn:
        weights[start:stop] = [1.0] * (stop - start)
    return weights
