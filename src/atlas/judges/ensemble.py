"""From verdicts to a reward: checks, else samples of small judges, an arbiter in doubt. Nothing is ever made up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from statistics import fmean, pstdev

from pydantic import Field

from atlas.judges.attacks import barred_by
from atlas.judges.base import Arbiter, Check, Judge
from atlas.judges.dense import attempt_rewards, judged_attempts, weighted_mean
from atlas.judges.reading import MeanReading, WeightedReading
from atlas.judges.sampling import Draw, drawn
from atlas.judges.weighing import PanelWeights
from atlas.models import Caller
from atlas.schema import Noun, Reward, Session, Verdict
from atlas.schema.errors import AtlasError, ConfigError, StoreError
from atlas.schema.events import Failure, Judged, JudgeFailed, Rewarded


class EnsembleRules(Noun):
    """When the ensemble asks whom."""

    variance_threshold: float = Field(default=0.15, ge=0, le=1)
    """Population standard deviation of the samples' scores above which the arbiter is asked. The configuration calls it
    a variance, and always measured it so."""
    uncertainty_threshold: float = Field(default=0.3, ge=0, le=1)
    """Largest uncertainty of a sample above which the arbiter is asked."""
    max_samples: int = Field(default=4, ge=1)
    """Samples at most; two are always asked where there are two. Fitted weights have their own number."""
    auto_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the surest auto sessions that the model judges are asked about; less sure ones are asked about more."""
    workers: int = Field(default=4, ge=1)
    """Judges of one session that work at once."""
    dense: bool = False
    """Ask the first samples about every attempt and every step too, where no check decides."""
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
        weights: PanelWeights | None = None,
        barred: Mapping[str, str] | None = None,
    ) -> None:
        """`samples` are asked in their order; neighbours had better differ in model family or temperature.

        With `weights` the samples they name are asked, in their order. `barred` names judges from which nothing may be
        learnt, with the reason.

        Raises:
            ConfigError: the weights name a judge that is not among the samples.
        """
        self._checks = tuple(checks)
        self._rules = rules or EnsembleRules()
        self._arbiter = arbiter
        self._barred = barred or {}
        if weights is None:
            self._samples = tuple(samples[: self._rules.max_samples])
            self._reading = MeanReading(
                spread=self._rules.variance_threshold, uncertainty=self._rules.uncertainty_threshold
            )
        else:
            self._samples = _named(samples, weights)
            self._reading = WeightedReading(weights)

    async def reward(self, session: Session, caller: Caller) -> Reward:
        """The reward of an answered session; its verdicts, failures and itself are recorded on the caller's trace.

        Raises:
            StoreError: the record could not be written. No judge's failure is raised.
        """
        said = await self._ask(self._checks, session, caller)
        checked = [(check, one) for check, one in zip(self._checks, said, strict=True) if one is not None]
        draw = drawn(session, self._rules.auto_share)
        sampled: tuple[Verdict, ...] = ()
        if draw.judged and (not checked or self._rules.always_sample):
            sampled = await self._sample(session, caller)
        if checked:
            reward = _checked(checked, sampled)
            steps = await attempt_rewards(checked, session, caller)
            reward = reward.model_copy(update={"steps": steps})
        else:
            reward = await self._settled(sampled, draw, session, caller)
            if self._rules.dense and reward.value is not None:
                steps = await judged_attempts(session, lambda then, where: self._of_attempt(then, where, caller))
                reward = reward.model_copy(update={"steps": steps})
        await caller.trace.record(Rewarded(reward=reward))
        return reward

    async def _sample(self, session: Session, caller: Caller) -> tuple[Verdict, ...]:
        """The first samples, then one more at a time until the decision is clear or only the arbiter can help."""
        first = self._reading.first
        given = _given(await self._ask(self._samples[:first], session, caller))
        for judge in self._samples[first:]:
            if len(given) >= first:
                read = self._reading.read(given, session)
                if read.clear or (self._arbiter and read.doubted):
                    break
            given += _given(await self._ask((judge,), session, caller))
        return given

    async def _of_attempt(self, then: Session, where: str, caller: Caller) -> float | None:
        """What the first samples say of one attempt; recorded under the attempt's own label."""
        given: list[Verdict] = []
        for judge in self._samples[: self._reading.first]:
            label = f"{judge.name}, {where}"
            word = await _recorded(label, _labelled(judge.judge(then, caller), label), caller)
            if word is not None:
                given.append(word.model_copy(update={"judge": judge.name}))
        return self._reading.read(given, then).value if given else None

    async def _settled(self, given: tuple[Verdict, ...], draw: Draw, session: Session, caller: Caller) -> Reward:
        """The arbiter's word where it is needed and to be had; else what the samples say; else no value."""
        told: dict[str, object] = {"propensity": draw.propensity, "thresholds": self._reading.thresholds}
        if not draw.judged:
            return Reward(source="none", reason=draw.reason, propensity=draw.propensity, drawn=False)
        doubt = self._doubt(given, session)
        word, escalated = None, False
        if doubt is not None and self._arbiter is not None:
            escalated = True
            word = await _recorded(self._arbiter.name, self._arbiter.settle(session, given, caller), caller)
            doubt = doubt if word else f"{doubt}; the arbiter gave no verdict"
        elif doubt is not None and given:
            doubt = f"{doubt}; no arbiter is configured"
        if word is not None:
            found = Reward(value=word.score, uncertainty=word.uncertainty, source="arbiter", verdicts=(*given, word))
        elif given:
            read = self._reading.read(given, session)
            found = Reward(value=read.value, uncertainty=read.uncertainty, source="judges", verdicts=given)
            escalated = escalated or (self._reading.fitted and len(given) > self._reading.first)
        else:
            found = Reward(source="none")
        told["barred"] = barred_by(found.verdicts, self._barred)
        return found.model_copy(update={**told, "escalated": escalated, "reason": doubt or ""})

    def _doubt(self, given: Sequence[Verdict], session: Session) -> str | None:
        if not self._samples and self._arbiter is None:
            return "no check gave a verdict" if self._checks else "no judge is configured"
        if not self._samples:
            return "only an arbiter is configured"
        if len(given) < min(self._reading.first, len(self._samples)):
            return f"{len(given)} of {len(self._samples)} judges gave a verdict"
        return self._reading.read(given, session).doubt

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


def _named(samples: Sequence[Judge], weights: PanelWeights) -> tuple[Judge, ...]:
    by_name = {judge.name: judge for judge in samples}
    missing = [name for name in weights.judges if name not in by_name]
    if missing:
        raise ConfigError(
            f"The judge weights were fitted for {missing[0]}, which is not configured.",
            "Configure it, or fit anew: atlas judge calibrate",
        )
    return tuple(by_name[name] for name in weights.judges)


async def _labelled(verdict: Awaitable[Verdict], label: str) -> Verdict:
    return (await verdict).model_copy(update={"judge": label})


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
