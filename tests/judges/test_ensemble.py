"""The ensemble: who is asked, who decides, and that a failure is never a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.judges import Ensemble, EnsembleRules, NumericCheck, PythonCheck, PythonReward, RegexCheck
from atlas.models import Caller
from atlas.schema import Attempt, Reward, Session, StepReward, Task, Verdict, now
from atlas.schema.errors import AtlasError, JudgeError, ModelTimeout, ModelUnavailable, StoreUnavailable

SessionOf = Callable[..., Session]
OUTAGE = ModelUnavailable("down")


class Sample:
    """A judge with a fixed opinion, or a failure."""

    def __init__(self, score: float | AtlasError, uncertainty: float = 0.1) -> None:
        self.name = "sample"
        self.asked = 0
        self._score = score
        self._uncertainty = uncertainty

    async def judge(self, session: Session, caller: Caller) -> Verdict:
        self.asked += 1
        if isinstance(self._score, AtlasError):
            raise self._score
        return Verdict(judge=self.name, score=self._score, uncertainty=self._uncertainty)

    async def settle(self, session: Session, verdicts: tuple[Verdict, ...], caller: Caller) -> Verdict:
        self.seen = verdicts
        return await self.judge(session, caller)


def says(score: Any, weight: float = 1.0) -> PythonCheck:
    return PythonCheck(lambda session: score, weight=weight)


async def test_checks_decide_and_no_model_is_asked(session_of: SessionOf, caller: Caller, trace: Any) -> None:
    sample = Sample(0.0)
    ensemble = Ensemble([says(True, weight=3.0), says(0.2)], [sample])
    reward = await ensemble.reward(session_of(), caller)
    assert (reward.value, reward.source, sample.asked) == (pytest.approx(0.8), "check", 0)
    assert trace.kinds() == ["judged", "judged", "rewarded"]
    assert trace.bodies[-1].reward == reward


async def test_models_may_be_asked_for_notes_while_the_check_decides(session_of: SessionOf, caller: Caller) -> None:
    rules = EnsembleRules(always_sample=True)
    reward = await Ensemble([says(True)], [Sample(0.0), Sample(0.0)], rules=rules).reward(session_of(), caller)
    assert (reward.value, reward.source, len(reward.verdicts)) == (1.0, "check", 3)


async def test_a_check_that_fails_is_missing_and_the_models_are_asked(
    session_of: SessionOf, caller: Caller, trace: Any
) -> None:
    reward = await Ensemble([NumericCheck()], [Sample(0.9), Sample(0.8)]).reward(session_of(), caller)
    assert (reward.value, reward.source) == (pytest.approx(0.85), "judges")
    assert trace.kinds() == ["judge_failed", "judged", "judged", "rewarded"]
    assert trace.bodies[0].failure.boundary == "judge"


@pytest.mark.parametrize(
    ("scores", "asked"), [((0.9, 0.8, 0, 0), 2), ((0.1, 0.2, 1, 1), 2), ((0.55, 0.6, 0.9, 0.9), 4), ((1, 0, 1, 1), 4)]
)
async def test_sampling_stops_when_the_decision_is_clear(
    scores: Sequence[float], asked: int, session_of: SessionOf, caller: Caller
) -> None:
    reward = await Ensemble((), list(map(Sample, scores))).reward(session_of(), caller)
    assert len(reward.verdicts) == asked
    assert reward.value == pytest.approx(fmean(scores[:asked]))


async def test_at_most_max_samples_are_asked(session_of: SessionOf, caller: Caller) -> None:
    samples = [Sample(score) for score in (0.5, 0.5, 0.5, 0.5, 0.5)]
    await Ensemble((), samples, rules=EnsembleRules(max_samples=3)).reward(session_of(), caller)
    assert [sample.asked for sample in samples] == [1, 1, 1, 0, 0]


async def test_disagreement_goes_to_the_arbiter_who_sees_all_of_it(session_of: SessionOf, caller: Caller) -> None:
    arbiter = Sample(0.1)
    reward = await Ensemble((), [Sample(1.0), Sample(0.0), Sample(0.9)], arbiter).reward(session_of(), caller)
    assert (reward.value, reward.source, reward.escalated) == (0.1, "arbiter", True)
    assert [verdict.score for verdict in arbiter.seen] == [1.0, 0.0, 0.9]
    assert "spread" in reward.reason
    assert len(reward.verdicts) == 4


async def test_doubt_goes_to_the_arbiter_without_further_samples(session_of: SessionOf, caller: Caller) -> None:
    third, arbiter = Sample(0.9), Sample(0.4)
    reward = await Ensemble((), [Sample(0.9, 0.5), Sample(0.9), third], arbiter).reward(session_of(), caller)
    assert (reward.value, reward.source, third.asked) == (0.4, "arbiter", 0)
    assert "0.50" in reward.reason


async def test_agreement_needs_no_arbiter(session_of: SessionOf, caller: Caller) -> None:
    arbiter = Sample(0.0)
    reward = await Ensemble((), [Sample(0.9), Sample(0.8)], arbiter).reward(session_of(), caller)
    assert (reward.source, reward.escalated, reward.reason, arbiter.asked) == ("judges", False, "", 0)


@pytest.mark.parametrize("arbiter", [Sample(OUTAGE), Sample(JudgeError("prose")), None])
async def test_without_an_arbiters_word_the_mean_stays_and_says_so(
    arbiter: Sample | None, session_of: SessionOf, caller: Caller
) -> None:
    reward = await Ensemble((), [Sample(1.0), Sample(0.0)], arbiter).reward(session_of(), caller)
    assert (reward.value, reward.source) == (0.5, "judges")
    assert reward.escalated is (arbiter is not None)
    assert "arbiter" in reward.reason


async def test_a_failed_sample_is_replaced(session_of: SessionOf, caller: Caller, trace: Any) -> None:
    samples = [Sample(OUTAGE), Sample(0.9), Sample(ModelTimeout("slow")), Sample(0.8)]
    reward = await Ensemble((), samples).reward(session_of(), caller)
    assert (reward.value, reward.reason) == (pytest.approx(0.85), "")
    assert trace.kinds().count("judge_failed") == 2


async def test_a_single_reading_is_not_trusted_alone(session_of: SessionOf, caller: Caller) -> None:
    reward = await Ensemble((), [Sample(OUTAGE), Sample(0.9)], Sample(0.2)).reward(session_of(), caller)
    assert (reward.value, reward.source, reward.reason) == (0.2, "arbiter", "1 of 2 judges gave a verdict")


@pytest.mark.parametrize(
    "ensemble",
    [
        Ensemble(),
        Ensemble([NumericCheck()]),
        Ensemble((), [Sample(OUTAGE), Sample(JudgeError("no"))]),
        Ensemble([NumericCheck()], [Sample(OUTAGE), Sample(OUTAGE)], Sample(OUTAGE)),
    ],
)
async def test_no_verdict_at_all_is_no_value(
    ensemble: Ensemble, session_of: SessionOf, caller: Caller, trace: Any
) -> None:
    reward = await ensemble.reward(session_of(), caller)
    assert (reward.value, reward.uncertainty, reward.source, reward.verdicts) == (None, None, "none", ())
    assert reward.reason
    assert trace.kinds()[-1] == "rewarded"


async def test_a_record_that_cannot_be_written_is_raised(session_of: SessionOf) -> None:
    class FullDisk:
        session_id = "s"

        async def record(self, body: object) -> None:
            raise StoreUnavailable("disk full")

    with pytest.raises(StoreUnavailable):
        await Ensemble([says(True)]).reward(session_of(), Caller(FullDisk()))  # type: ignore[arg-type]


TRIES = (
    Attempt(output="41"),
    Attempt(number=2, output="40", guidance="Again."),
    Attempt(number=3, output="42", guidance="Again."),
)


async def test_dense_checks_reward_every_attempt(session_of: SessionOf, caller: Caller) -> None:
    session = session_of("42", {"expected": 42}, attempts=TRIES)
    reward = await Ensemble([NumericCheck(weight=3.0), RegexCheck("^4", weight=1.0)]).reward(session, caller)
    assert reward.value == 1.0
    assert reward.steps == tuple(
        StepReward(step=0, attempt=number, value=value) for number, value in ((1, 0.25), (2, 0.25), (3, 1.0))
    )


async def test_a_dense_function_sees_the_session_as_it_stood(session_of: SessionOf, caller: Caller) -> None:
    seen: list[tuple[str | None, int]] = []

    def check(session: Session) -> bool:
        seen.append((session.answer, len(session.attempts)))
        return session.answer == "42"

    session = session_of("42", attempts=TRIES)
    reward = await Ensemble([PythonCheck(check, dense=True)]).reward(session, caller)
    assert [step.value for step in reward.steps] == [0.0, 0.0, 1.0]
    assert seen == [("42", 3), ("41", 1), ("40", 2)]


async def test_one_check_that_is_not_dense_leaves_attempts_unrewarded(session_of: SessionOf, caller: Caller) -> None:
    session = session_of("42", {"expected": 42}, attempts=TRIES)
    reward = await Ensemble([NumericCheck(), says(True)]).reward(session, caller)
    assert (reward.value, reward.steps) == (1.0, ())


async def test_an_attempt_a_check_fails_on_has_no_reward(session_of: SessionOf, caller: Caller, trace: Any) -> None:
    def check(session: Session) -> bool:
        if session.answer == "40":
            raise RuntimeError("environment gone")
        return True

    session = session_of("42", attempts=TRIES)
    reward = await Ensemble([PythonCheck(check, dense=True)]).reward(session, caller)
    assert [step.attempt for step in reward.steps] == [1, 3]
    assert "judge_failed" in trace.kinds()


@pytest.mark.parametrize(
    ("returned", "value", "source"),
    [
        (0.3, 0.3, "check"),
        (True, 1.0, "check"),
        (Verdict(judge="x", score=0.6), 0.6, "check"),
        (Reward(value=0.7, source="judges", reason="own"), 0.7, "judges"),
        ("good", None, "none"),
    ],
)
async def test_a_python_reward_stands_in_the_ensembles_place(
    returned: object, value: float | None, source: str, session_of: SessionOf, caller: Caller, trace: Any
) -> None:
    reward = await PythonReward(lambda session: returned).reward(session_of(), caller)
    assert (reward.value, reward.source) == (value, source)
    assert trace.kinds()[-1] == "rewarded"
    assert ("judge_failed" in trace.kinds()) is (value is None)


async def test_a_python_reward_that_cannot_be_imported_is_no_reward(session_of: SessionOf, caller: Caller) -> None:
    reward = await PythonReward("no_such_module_here:reward").reward(session_of(), caller)
    assert reward.value is None
    assert "no_such_module_here" in reward.reason


samples = st.lists(st.one_of(st.floats(0, 1), st.just(OUTAGE)), max_size=6)


@given(samples, st.one_of(st.none(), st.floats(0, 1), st.just(OUTAGE)))
async def test_whatever_the_judges_do_the_reward_is_honest(
    scores: list[float | AtlasError], last: float | AtlasError | None
) -> None:
    class Silent:
        session_id = "s"

        async def record(self, body: object) -> None:
            return None

    session = Session(id="s", task=Task(prompt="?"), answer="42", created_at=now())
    arbiter = None if last is None else Sample(last)
    reward = await Ensemble((), list(map(Sample, scores)), arbiter).reward(session, Caller(Silent()))  # type: ignore[arg-type]
    assert (reward.value is None) is (not reward.verdicts) is (reward.source == "none")
    if reward.source == "judges":
        assert reward.value == pytest.approx(fmean(one.score for one in reward.verdicts))
