"""From verdicts to a reward: checks, else samples of small judges, an arbiter in doubt. Nothing is ever made up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from statistics import fmean, pstdev

from pydantic import Field

from atlas.judges.base import Arbiter, Check, Judge
from atlas.judges.dense import attempt_rewards, weighted_mean
from atlas.models import Caller
from atlas.schema import Noun, Reward, Session, Verdict
from atlas.schema.errors import AtlasError, StoreError
from atlas.schema.events import Failure, Judged, JudgeFailed, Rewarded

_FIRST_SAMPLES = 2
_DECIDED = 0.5
_MARGIN = 0.1
"""How far from the middle every score must lie for a decision to be clear."""


class EnsembleRules(Noun):
    """When the ensemble asks whom."""

    variance_threshold: float = Field(default=0.15, ge=0, le=1)
    """Population standard deviation of the samples' scores above which the arbiter is asked. The configuration calls it
    a variance, and always measured it so."""
    uncertainty_threshold: float = Field(default=0.3, ge=0, le=1)
    """Largest uncertainty of a sample above which the arbiter is asked."""
    max_samples: int = Field(default=4, ge=1)
    """Samples at most; two are always asked where there are two."""
    workers: int = Field(default=4, ge=1)
    """Judges of one session that work at once."""
    always_sample: bool = False
    """Ask the model judges for their notes even where a check has decided; the check still decides."""


class Ensemble:
    """Asks checks, samples and arbiter in this order, and says what it made of them."""

    def __init__(
        self,
        checks: Sequence[Check] = (),
        samples: Sequence[Judge] = (),
        arbiter: Arbiter | None = None,
        *,
        rules: EnsembleRules | None = None,
    ) -> None:
        """`samples` are asked in their order; neighbours had better differ in model family or temperature."""
        self._checks = tuple(checks)
        self._rules = rules or EnsembleRules()
        self._samples = tuple(samples[: self._rules.max_samples])
        self._arbiter = arbiter

    async def reward(self, session: Session, caller: Caller) -> Reward:
        """The reward of an answered session; its verdicts, failures and itself are recorded on the caller's trace.

        Raises:
            StoreError: the record could not be written. No judge's failure is raised.
        """
        said = await self._ask(self._checks, session, caller)
        checked = [(check, one) for check, one in zip(self._checks, said, strict=True) if one is not None]
        sampled = () if checked and not self._rules.always_sample else await self._sample(session, caller)
        if checked:
            reward = _checked(checked, sampled)
            steps = await attempt_rewards(checked, session, caller)
            reward = reward.model_copy(update={"steps": steps})
        else:
            reward = await self._settled(sampled, session, caller)
        await caller.trace.record(Rewarded(reward=reward))
        return reward

    async def _sample(self, session: Session, caller: Caller) -> tuple[Verdict, ...]:
        """Two samples, then one more at a time until the decision is clear or only the arbiter can help."""
        given = _given(await self._ask(self._samples[:_FIRST_SAMPLES], session, caller))
        for judge in self._samples[_FIRST_SAMPLES:]:
            if len(given) >= _FIRST_SAMPLES and (self._clear(given) or (self._arbiter and self._doubted(given))):
                break
            given += _given(await self._ask((judge,), session, caller))
        return given

    def _doubted(self, given: Sequence[Verdict]) -> bool:
        return max(one.uncertainty for one in given) > self._rules.uncertainty_threshold

    def _clear(self, given: Sequence[Verdict]) -> bool:
        scores = [one.score for one in given]
        decided = min(scores) >= _DECIDED + _MARGIN or max(scores) <= _DECIDED - _MARGIN
        return decided and pstdev(scores) <= self._rules.variance_threshold and not self._doubted(given)

    async def _settled(self, given: tuple[Verdict, ...], session: Session, caller: Caller) -> Reward:
        """The arbiter's word where it is needed and to be had; else the mean of the samples; else no value."""
        doubt = self._doubt(given)
        if doubt is None:
            return _mean(given)
        if self._arbiter is None:
            return _mean(given, f"{doubt}; no arbiter is configured" if given else doubt)
        word = await _recorded(self._arbiter.name, self._arbiter.settle(session, given, caller), caller)
        if word is None:
            return _mean(given, f"{doubt}; the arbiter gave no verdict", escalated=True)
        return Reward(
            value=word.score,
            uncertainty=word.uncertainty,
            source="arbiter",
            verdicts=(*given, word),
            escalated=True,
            reason=doubt,
        )

    def _doubt(self, given: Sequence[Verdict]) -> str | None:
        if not self._samples and self._arbiter is None:
            return "no check gave a verdict" if self._checks else "no judge is configured"
        if not self._samples:
            return "only an arbiter is configured"
        if len(given) < min(_FIRST_SAMPLES, len(self._samples)):
            return f"{len(given)} of {len(self._samples)} judges gave a verdict"
        spread = pstdev([one.score for one in given])
        if spread > self._rules.variance_threshold:
            return f"the scores spread by {spread:.2f}"
        worst = max(one.uncertainty for one in given)
        return f"a judge doubts ({worst:.2f})" if self._doubted(given) else None

    async def _ask(self, judges: Sequence[Judge], session: Session, caller: Caller) -> list[Verdict | None]:
        """What each judge said, in the judges' order, None where it failed; recorded as it comes."""
        gate = asyncio.Semaphore(self._rules.workers)

        async def one(judge: Judge) -> Verdict | None:
            async with gate:
                return await _recorded(judge.name, judge.judge(session, caller), caller)

        return await asyncio.gather(*map(one, judges))


def _given(said: Sequence[Verdict | None]) -> tuple[Verdict, ...]:
    return tuple(verdict for verdict in said if verdict is not None)


def _checked(checked: Sequence[tuple[Check, Verdict]], sampled: tuple[Verdict, ...]) -> Reward:
    verdicts = [verdict for _, verdict in checked]
    spread = pstdev([one.score for one in verdicts])
    return Reward(
        value=weighted_mean([(check.weight, one.score) for check, one in checked]),
        uncertainty=max(spread, fmean(one.uncertainty for one in verdicts)),
        source="check",
        verdicts=(*verdicts, *sampled),
    )


def _mean(given: tuple[Verdict, ...], reason: str = "", *, escalated: bool = False) -> Reward:
    if not given:
        return Reward(source="none", escalated=escalated, reason=reason)
    scores = [one.score for one in given]
    doubt = max(pstdev(scores), fmean(one.uncertainty for one in given))
    return Reward(
        value=fmean(scores), uncertainty=doubt, source="judges", verdicts=given, escalated=escalated, reason=reason
    )


async def _recorded(name: str, verdict: Awaitable[Verdict], caller: Caller) -> Verdict | None:
    """The verdict, on record; or None, with the failure on record."""
    try:
        word = await verdict
    except StoreError:
        raise
    except AtlasError as error:
        await caller.trace.record(JudgeFailed(judge=name, failure=Failure.of(error)))
        return None
    await caller.trace.record(Judged(verdict=word))
    return word
