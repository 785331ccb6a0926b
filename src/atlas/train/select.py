"""From examples to a training and an evaluation set: no leak, no double, no key that drowns the others, no overlap."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from atlas.schema import Noun, Task
from atlas.schema.errors import TrainError
from atlas.train.examples import Example
from atlas.train.source import DataConfig, Read

_SPLIT_STEPS = 1 << 32
_MIN_GOLD = 3
"""Characters; a shorter expected answer occurs in any text by chance."""


class Chosen(Noun):
    """What is trained on, what is evaluated on, and what was left out for which reason."""

    train: tuple[Example, ...]
    """To learn from."""
    evaluation: tuple[Example, ...]
    """Held out; no session and no question of it is in `train`."""
    leaked: int = 0
    """Left out because the prompt holds the expected answer."""
    doubles: int = 0
    """Left out because an equal example was there before."""
    capped: int = 0
    """Left out because their key has its share already."""
    weak: int = 0
    """Left out because their value is too small or unknown."""


def choose(read: Read, data: DataConfig) -> Chosen:
    """Filter, split by question, and cap.

    Raises:
        TrainError: a prompt holds the expected answer and `leaks` says stop.
    """
    kept = [one for one in read.examples if not data.purposes or one.purpose in data.purposes]
    strong = [one for one in kept if data.min_value is None or (one.value is not None and one.value >= data.min_value)]
    clean = [one for one in strong if not leaks(one, golds_of(read.tasks.get(one.session_id), data.gold_keys))]
    if data.leaks == "stop" and len(clean) < len(strong):
        raise TrainError(
            f"{len(strong) - len(clean)} prompts hold their task's expected answer.",
            "Take it out of the prompt, or set data.leaks=drop.",
        )
    single = _unlike(clean) if data.deduplicate else clean
    held = held_out_questions(single, data.eval_ratio)
    train = [one for one in single if one.question not in held]
    even = _capped(train, data.max_share)
    return Chosen(
        train=tuple(even[: data.max_examples]),
        evaluation=tuple(one for one in single if one.question in held),
        leaked=len(strong) - len(clean),
        doubles=len(clean) - len(single),
        capped=len(train) - len(even),
        weak=len(kept) - len(strong),
    )


def held_out_questions(examples: Sequence[Example], ratio: float) -> frozenset[str]:
    """The questions kept for evaluation: those whose hash is smallest, so more data never moves one across for long.

    At least one is held out where there are two and `ratio` is above 0, and at least one is left to train on.
    """
    questions = {one.question for one in examples}
    if ratio == 0 or len(questions) < 2:
        return frozenset()
    wanted = min(max(1, round(ratio * len(questions))), len(questions) - 1)
    ranked = sorted(questions, key=lambda question: (_rank(question), question))
    return frozenset(ranked[:wanted])


def _rank(question: str) -> int:
    return int.from_bytes(hashlib.sha256(f"split/{question}".encode()).digest()[:4], "big") % _SPLIT_STEPS


def golds_of(task: Task | None, keys: Sequence[str]) -> tuple[str, ...]:
    """The expected answers in a task's payload, as text; numbers and texts only."""
    payload: Mapping[str, object] = task.payload if task else {}
    found = (payload.get(key) for key in keys)
    return tuple(str(value) for value in found if type(value) in (str, int, float) and str(value).strip())


def leaks(example: Example, golds: Sequence[str]) -> bool:
    """Whether something the role was told holds an expected answer that the task itself does not hold.

    A multiple-choice task shows its answer to everybody; that is no leak. What the role said itself earlier is none.
    """
    told = [message.content for message in example.prompt if message.role != "assistant"]
    return any(contains(text, gold) for gold in golds for text in told)


def contains(text: str, gold: str) -> bool:
    """Whether a text holds an expected answer as whole words, whatever its case, spaces and punctuation."""
    wanted = _words(gold)
    if len("".join(wanted)) < _MIN_GOLD:
        return False
    return f" {' '.join(wanted)} " in f" {' '.join(_words(text))} "


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.findall(r"\w+", re.sub(r"(?<=\d),(?=\d{3})", "", plain))


def _unlike(examples: Sequence[Example]) -> list[Example]:
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.identity, example)
    return list(first.values())


def _capped(examples: Sequence[Example], share: float) -> list[Example]:
    """Examples such that no learning key has more than its share; the newest of a key are kept.

    With fewer keys than the share can hold, the cap is an equal part for each.
    """
    by_key: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_key[example.learning_key].append(example)
    share = max(share, 1 / max(1, len(by_key)))
    counts = Counter({key: len(mine) for key, mine in by_key.items()})
    while True:
        total = sum(counts.values())
        largest, most = counts.most_common(1)[0] if counts else ("", 0)
        if not counts or most <= share * total or math.isclose(share, 1.0):
            break
        rest = total - most
        counts[largest] = min(most - 1, max(1, math.floor(share * rest / (1 - share))))
    kept = {id(one) for key, mine in by_key.items() for one in mine[-counts[key] :]}
    return [one for one in examples if id(one) in kept]
