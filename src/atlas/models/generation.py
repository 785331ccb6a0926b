"""From prompt tokens to new tokens: sampling, stops, and a cache of the last prompts' keys and values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.models.llama import Llama, Shape, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

KEPT_STATES = 12
"""How many conversations stay in the prefix cache."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.0
    """0 takes the most probable token."""
    top_p: float = 1.0
    """Only the most probable tokens that together have this mass are drawn from."""
    seed: int | None = None
    """The same seed draws the same tokens; None draws differently each time."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model wrote."""

    tokens: tuple[int, ...]
    """New tokens, the stop token included when there was one."""
    stopped: bool
    """False when the length limit ended it."""
    logprob: float
    """Sum of the tokens' natural log-probabilities under the model at temperature 1."""
    cached: int
    """Prompt tokens whose keys and values were at hand."""
    chosen: tuple[Chosen, ...] = ()
    """Each token's chances and those of its rivals, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token with its log-probability, and the most probable ones at its place. Natural logarithms, temperature 1."""

    token: int
    """Which was taken."""
    logprob: float
    """How probable it was."""
    best: tuple[tuple[int, float], ...]
    """The most probable tokens there, the likeliest first."""


class Generator:
    """Generates with one checkpoint, one prompt at a time; it is not safe for threads."""

    def __init__(self, model: Llama) -> None:
        self._model = model
        self._kept: list[State] = []

    @property
    def shape(self) -> Shape:
        """The model's numbers."""
        return self._model.shape

    def forget(self) -> None:
        """Empty the cache."""
        self._kept = []

    @property
    def context(self) -> int:
        """Prompt and new tokens together may not be more."""
        return self._model.shape.context

    def run(
        self,
        prompt: list[int],
        *,
        limit: int,
        sampling: Sampling,
        best: int | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Generated | None:
        """Up to `limit` tokens after a prompt that is shorter than the context; None when `go_on` said no.

        With `best` each token comes with its log-probability and that of so many rivals.
        """
        import numpy as np

        limit = min(limit, self.context - len(prompt))
        state, cached = self._state(prompt, limit)
        rng = np.random.default_rng(sampling.seed) if sampling.temperature > 0 else None
        stops = self._model.shape.stops
        tokens: list[int] = []
        told: list[Chosen] = []
        logprob = 0.0
        new = prompt[cached:]
        while len(tokens) < limit:
            if not go_on():
                return None
            scores = self._model.forward(state, new)
            token = int(scores.argmax()) if rng is None else _draw(scores, sampling, rng)
            highest = scores.max()
            logprob += float(scores[token] - highest) - math.log(float(np.exp(scores - highest).sum()))
            tokens.append(token)
            if best is not None:
                told.append(_chosen(scores, token, best))
            if token in stops:
                break
            new = [token]
        self._keep(state)
        return Generated(tuple(tokens), bool(tokens) and tokens[-1] in stops, logprob, cached, tuple(told))

    def read(self, tokens: list[int], *, best: int) -> list[Chosen]:
        """How probable each token of a text was where it stands, from the second one on, and its rivals."""
        scores_TV = self._model.forward_all(State(self.shape, len(tokens)), tokens)
        return [_chosen(scores, token, best) for scores, token in zip(scores_TV, tokens[1:], strict=False)]

    def _state(self, prompt: list[int], limit: int) -> tuple[State, int]:
        """A state with as much of the prompt as the cache knows; the last token is always read anew."""
        state = State(self._model.shape, len(prompt) + limit)
        best, length = None, 0
        for kept in self._kept:
            common = _common(kept.tokens, prompt)
            if common > length:
                best, length = kept, common
        length = min(length, len(prompt) - 1)
        if best is not None and length > 0:
            state.take(best, length)
            self._kept.remove(best)
            self._kept.append(best)
        return state, length

    def _keep(self, state: State) -> None:
        """Remember this conversation; forget the one that was used the longest ago, and those it contains."""
        self._kept = [kept for kept in self._kept if kept.tokens != state.tokens[: len(kept.tokens)]]
        self._kept.append(state)
        del self._kept[:-KEPT_STATES]


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common beginning, by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _chosen(scores: Array, token: int, best: int) -> Chosen:
    """A token's log-probability and that of its rivals."""
    import numpy as np

    highest = scores.max()
    logp = scores - highest - math.log(float(np.exp(scores - highest).sum()))
    order = np.argsort(-scores, kind="stable")[:best]
    return Chosen(token, float(logp[token]), tuple((int(index), float(logp[index])) for index in order))


def _draw(scores: Array, sampling: Sampling, rng: Any) -> int:
    """One token at random. Source: Holtzman et al. 2020 (nucleus sampling)."""
    import numpy as np

    scaled = (scores.astype(np.float64) - scores.max()) / sampling.temperature
    chances = np.exp(scaled)
    chances /= chances.sum()
    if sampling.top_p < 1:
        order = np.argsort(-chances, kind="stable")
        before = np.cumsum(chances[order]) - chances[order]
        chances[order[before >= sampling.top_p]] = 0
        chances /= chances.sum()
    return int(rng.choice(len(chances), p=chances))
