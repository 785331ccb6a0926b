"""Does an entry help or harm? An e-process over sessions in which chance decided who saw it.

A session shows the entry with the known probability q (A = 1) or holds it out (A = 0), then earns a reward y in
[0, 1]. With any centre m chosen beforehand, X = (y - m) * (A / q - (1 - A) / (1 - q)) has the entry's effect as its
mean. Wealth that bets a predictable share on X > 0 cannot grow on average while the entry does not help; on X < 0,
while it does no harm. By Ville's inequality wealth ever reaches 20 with probability at most 1/20 under its null,
whenever one looks.

The centre is the mean reward so far, and the stake is the growth-optimal one for the effect seen so far (for 0/1
rewards the bet is then a likelihood ratio), so the counts already kept with the entry are all the state there is.

Where the same task was done both with and without the entry, D = reward with - reward without is bet on directly: the
difference between tasks, which is most of the noise, is gone. Bets of both kinds multiply into one wealth, for which of
them a session makes is decided before it begins.

Source: testing by betting, Waudby-Smith and Ramdas, arXiv 2010.09686; the stake, Turner, Ly and Grünwald, arXiv
2106.02693.
"""

from __future__ import annotations

import math

from atlas.schema import Evidence

SUCCESS = 0.5
"""A reward from here on counts as a success where only success or failure is asked."""
_BET_CAP = 0.9
"""Share of the wealth that the worst outcome may cost."""
_PRIOR_EFFECT = 0.3
"""Effect that is bet on before anything is seen."""
_PRIOR_WEIGHT = 5.0
"""How many pairs of sessions that first guess weighs."""
_DOUBT = -math.log(2)
"""Log of the wealth on harm above which an entry is in doubt: in simulation (`benchmarks/evidence.py`) the largest at
which nine in ten entries that cost 0.2 are found within about a hundred sessions."""
_SUSPECT_SHARE = 0.5
"""Share of sessions that does without an entry suspected of harm: the most informative one, and the safer."""
_ENOUGH = 5
"""Sessions of each arm, or pairs, below which an effect is not estimated."""
_PRIOR_PAIRS = (1.0, 2.0)
"""Sum of differences and of their squares that are taken as seen before the first pair: 3 for and 1 against of 4."""


def observe(evidence: Evidence, *, shown: bool, reward: float, propensity: float) -> Evidence:
    """The evidence after one more matched session; where chance had no say (propensity 1) it is counted without a bet.

    Args:
        evidence: what was known before it.
        shown: whether the session saw the entry.
        reward: its reward in [0, 1].
        propensity: the probability in (0, 1] with which it was to be shown.

    Raises:
        ValueError: reward or propensity is out of range, or it was held out although it had to be shown.
    """
    if not 0 <= reward <= 1 or not 0 < propensity <= 1 or (propensity == 1 and not shown):
        raise ValueError(f"reward {reward} must lie in [0, 1] and propensity {propensity} in (0, 1)")
    bet = {} if propensity == 1 else _bet(evidence, shown=shown, reward=reward, propensity=propensity)
    return evidence.model_copy(update=_counted(evidence, shown=shown, reward=reward) | bet)


def count(evidence: Evidence, *, shown: bool, reward: float) -> Evidence:
    """The evidence after a matched session that says nothing about the effect, as when its control failed."""
    return evidence.model_copy(update=_counted(evidence, shown=shown, reward=reward))


def observe_pair(evidence: Evidence, *, shown: bool, with_it: float, without_it: float) -> Evidence:
    """The evidence after one task that was done both with and without the entry, whatever chance showed the caller.

    Args:
        evidence: what was known before it.
        shown: whether the session that served the caller saw the entry.
        with_it: the reward in [0, 1] of the task with the entry.
        without_it: the reward in [0, 1] without it.

    Raises:
        ValueError: a reward is out of range.
    """
    if not 0 <= with_it <= 1 or not 0 <= without_it <= 1:
        raise ValueError(f"rewards {with_it} and {without_it} must lie in [0, 1]")
    gap = with_it - without_it
    counted = _counted(evidence, shown=shown, reward=with_it if shown else without_it)
    return evidence.model_copy(
        update=counted
        | {
            "pairs": evidence.pairs + 1,
            "pair_gain": evidence.pair_gain + gap,
            "pair_square": evidence.pair_square + gap * gap,
            "log_e_help": evidence.log_e_help + math.log1p(_pair_stake(evidence, side=1) * gap),
            "log_e_harm": evidence.log_e_harm + math.log1p(-_pair_stake(evidence, side=-1) * gap),
        }
    )


def _pair_stake(evidence: Evidence, *, side: int) -> float:
    """The growth-optimal share for the differences of earlier pairs: their mean over their mean square."""
    gain, square = _PRIOR_PAIRS
    return min(max((side * evidence.pair_gain + gain) / (evidence.pair_square + square), 0.0), _BET_CAP)


def in_doubt(evidence: Evidence) -> bool:
    """Whether little speaks against harm yet: at the beginning, and while the bet on harm has not lost half its wealth.

    A session that matches an entry in doubt is worth doing twice; it follows from earlier sessions alone.
    """
    return evidence.log_e_harm >= _DOUBT


def holdout(evidence: Evidence, share: float) -> float:
    """The share of sessions from which an entry is to be withheld: half of them while it is suspected of harm.

    Chance may depend on what came before, as long as the probability is recorded: the bets stay fair.
    """
    suspected = evidence.log_e_harm > max(evidence.log_e_help, 0.0)
    return max(share, _SUSPECT_SHARE) if suspected and share > 0 else share


def lift(evidence: Evidence) -> float | None:
    """The estimated effect on the reward, in [-1, 1]: of the pairs where there are enough, else between the arms.

    None while either arm has seen fewer than five sessions and there are fewer than five pairs.
    """
    if evidence.pairs >= _ENOUGH:
        return evidence.pair_gain / evidence.pairs
    if min(evidence.n_with, evidence.n_without) < _ENOUGH:
        return None
    return evidence.successes_with / evidence.n_with - evidence.successes_without / evidence.n_without


def _counted(evidence: Evidence, *, shown: bool, reward: float) -> dict[str, float]:
    if not shown:
        return {"n_without": evidence.n_without + 1, "successes_without": evidence.successes_without + reward}
    failed = reward < SUCCESS
    return {
        "n_with": evidence.n_with + 1,
        "successes_with": evidence.successes_with + reward,
        "failures_with": evidence.failures_with + failed,
        "failures_in_row": evidence.failures_in_row + 1 if failed else 0,
    }


def _bet(evidence: Evidence, *, shown: bool, reward: float, propensity: float) -> dict[str, float]:
    x = (reward - _centre(evidence)) * (1 / propensity if shown else -1 / (1 - propensity))
    return {
        "log_e_help": evidence.log_e_help + math.log1p(_stake(evidence, propensity, side=1) * x),
        "log_e_harm": evidence.log_e_harm + math.log1p(_stake(evidence, propensity, side=-1) * -x),
    }


def e_value(log_e: float) -> float:
    """The e-value of its logarithm; infinite where it exceeds what a float holds."""
    return math.exp(log_e) if log_e < 700 else math.inf


def _centre(evidence: Evidence) -> float:
    """Mean reward of both arms so far, strictly inside (0, 1)."""
    total = evidence.successes_with + evidence.successes_without
    return (total + 1) / (evidence.n_with + evidence.n_without + 2)


def _stake(evidence: Evidence, propensity: float, *, side: int) -> float:
    """The share to bet on an effect of this side, from earlier sessions only."""
    centre, q = _centre(evidence), propensity
    weight, effect = 0.0, 0.0
    if evidence.n_with and evidence.n_without:
        weight = evidence.n_with * evidence.n_without / (evidence.n_with + evidence.n_without)
        effect = evidence.successes_with / evidence.n_with - evidence.successes_without / evidence.n_without
    guess = (weight * side * effect + _PRIOR_WEIGHT * _PRIOR_EFFECT) / (weight + _PRIOR_WEIGHT)
    best = max(guess, 0.0) * q * (1 - q) / (centre * (1 - centre))
    worst = max(centre / q, (1 - centre) / (1 - q)) if side > 0 else max((1 - centre) / q, centre / (1 - q))
    return min(best, _BET_CAP / worst)
