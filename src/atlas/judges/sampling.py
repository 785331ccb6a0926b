"""Which auto sessions the model judges are asked about, and how a mean over all of them is still right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from atlas.evidence.intervals import Interval
from atlas.schema import Noun, Reward, Session, content_hash


class Draw(Noun):
    """Whether a session is judged, and with what probability it would have been."""

    judged: bool
    """What chance said."""
    propensity: float
    """Probability in (0, 1] of being judged, known before the draw."""
    reason: str = ""
    """Why it is not judged."""


def drawn(session: Session, auto_share: float) -> Draw:
    """The draw of a session: certain outside the auto lane; inside, the less sure the route, the likelier.

    A route of confidence c is judged with probability share + (1 - share) * 2 * min(c, 1 - c): always at 0.5, at the
    share alone where the outcome is foregone. The draw follows from the session's id: a resumed session has the same.
    """
    route = session.route
    if route is None or route.lane != "auto" or auto_share >= 1:
        return Draw(judged=True, propensity=1.0)
    doubt = 1.0 if route.confidence is None else 2 * min(route.confidence, 1 - route.confidence)
    propensity = auto_share + (1 - auto_share) * doubt
    draw = int(content_hash(session.id, "judged")[:12], 16) / 16**12
    if draw < propensity:
        return Draw(judged=True, propensity=propensity)
    return Draw(judged=False, propensity=propensity, reason=f"not drawn for judging (probability {propensity:.2f})")


def mean_reward(rewards: Sequence[Reward], *, centre: float = 0.5, confidence: float = 0.95) -> Interval:
    """The mean reward of all sessions, judged or not, from the judged ones weighted by 1 / propensity.

    Unbiased for any centre that was chosen beforehand; the nearer to the truth, the narrower. A judged session whose
    judges all failed says nothing about those that were not drawn, so it is left out.

    Source: Horvitz and Thompson 1952, Journal of the American Statistical Association 47; Särndal et al. 1992,
    section 6.3 (the difference form).

    Raises:
        ValueError: no session is left.
    """
    terms: list[float] = []
    for reward in rewards:
        if reward.value is not None:
            terms.append(centre + (reward.value - centre) / reward.propensity)
        elif not reward.drawn:
            terms.append(centre)
    if not terms:
        raise ValueError("a mean reward needs at least one session")
    n = len(terms)
    mean = sum(terms) / n
    spread = sum((term - mean) ** 2 for term in terms) / max(1, n - 1)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(spread / n)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)
