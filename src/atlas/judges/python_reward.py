"""`adaptive_teaching.reward.type: python`: the user's own function is the reward."""

from __future__ import annotations

from atlas.judges.checks import as_verdict
from atlas.judges.user_code import UserCode, resolved, run_user_code
from atlas.models import Caller
from atlas.schema import Reward, Session
from atlas.schema.errors import ConfigError, JudgeError
from atlas.schema.events import Failure, Judged, JudgeFailed, Rewarded

_NAME = "check:reward"


class PythonReward:
    """Stands in the ensemble's place."""

    def __init__(self, fn: UserCode | str, *, timeout_s: float = 60.0) -> None:
        """`fn(session)`, sync or async, or its import path `pkg.mod:fn`, imported when first needed.

        It returns a Reward, a Verdict, a bool, or a score in [0, 1].
        """
        self._fn = fn
        self._timeout_s = timeout_s

    async def reward(self, session: Session, caller: Caller) -> Reward:
        """What the function says; without a value when it raises, hangs or returns something else.

        Raises:
            StoreError: the record could not be written.
        """
        try:
            reward = await self._asked(session)
        except (JudgeError, ConfigError) as error:
            await caller.trace.record(JudgeFailed(judge=_NAME, failure=Failure.of(error)))
            reward = Reward(source="none", reason=error.message)
        for verdict in reward.verdicts:
            await caller.trace.record(Judged(verdict=verdict))
        await caller.trace.record(Rewarded(reward=reward))
        return reward

    async def _asked(self, session: Session) -> Reward:
        fn = resolved(self._fn)
        found = await run_user_code(fn, session, timeout_s=self._timeout_s)
        if isinstance(found, Reward):
            return found
        verdict = as_verdict(found, _NAME)
        return Reward(value=verdict.score, uncertainty=verdict.uncertainty, source="check", verdicts=(verdict,))
