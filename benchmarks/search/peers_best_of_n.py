"""Best-of-N in three forms: plain, packed, and with a stop rule.

None of them is a library; they are what people write by hand, in their leanest form, and
every one spends its cap as well as its form allows.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from benchmarks.search.metering import Metered
from benchmarks.search.pools import Item, PoolPrompt
from benchmarks.search.running import Run

__all__ = [
    "ADAPTIVE_COST_SD",
    "adaptive_best_of_n",
    "fair_cap",
    "packed_best_of_n",
    "plain_best_of_n",
]

PACKED_GENERATION = 4
"""Candidates of one packed generation; `lats` asks for as many."""

PACKED_JUDGING = 12
"""Candidates that one packed judge request reads at most; as in `lats`."""

ADAPTIVE_COST_SD = 0.1
"""Cost of a further candidate, in standard deviations of the scores."""

ADAPTIVE_MIN_CANDIDATES = 2
"""Candidates before the stop rule may stop: a spread needs two."""


def _best(items: Sequence[Item], scores: Sequence[float | None]) -> Item | None:
    """Return the item with the highest score, the earliest of equals; unread ones last."""
    scored = [(score, -place) for place, score in enumerate(scores) if score is not None]
    if scored:
        return items[-max(scored)[1]]
    return items[0] if items else None


def plain_best_of_n(prompt: PoolPrompt, cap: int) -> Run:
    """Return the best of N: one candidate a request, one score a request; N is cap / 2.

    Both halves are sent together, so it takes 2 rounds. A cap of 1 pays one candidate.
    """
    meter = Metered(prompt, cap)
    items: list[Item] = []
    for _ in range(max(cap // 2, min(cap, 1))):
        items += meter.generate(1)
    meter.rounds += bool(meter.requests)
    scores = [meter.judge([item])[0] for item in items[: meter.left]]
    meter.rounds += bool(scores)
    return meter.run(_best(items, scores), "plan_done")


def packed_best_of_n(prompt: PoolPrompt, cap: int) -> Run:
    """Return the best of N where a request brings 4 candidates, and one reads up to 12.

    As many generations as leave calls to read every candidate once; 2 rounds.
    """
    meter = Metered(prompt, cap)
    generations = min(cap, 1)
    while generations + 1 + _readings((generations + 1) * PACKED_GENERATION) <= cap:
        generations += 1
    items: list[Item] = []
    for _ in range(generations):
        items += meter.generate(PACKED_GENERATION if cap > 1 else 1)
    meter.rounds += bool(generations)
    scores: list[float | None] = []
    for start in range(0, len(items), PACKED_JUDGING):
        if meter.left:
            scores += meter.judge(items[start : start + PACKED_JUDGING])
    meter.rounds += bool(scores)
    return meter.run(_best(items, scores), "plan_done")


def _readings(candidates: int) -> int:
    return -(-candidates // PACKED_JUDGING)


def fair_cap(scores: Sequence[float], cost_sd: float) -> float:
    """Return the score above which another candidate is not worth its cost.

    It solves E[(V - cap)+] = cost for normal V, with the mean of the scores raised by one
    standard error, and their standard deviation.

    Args:
        scores: seen so far, at least two.
        cost_sd: cost of a candidate in standard deviations, above 0.
    """
    spread = stdev(scores)
    low, high = -6.0, 6.0
    normal = NormalDist()
    for _ in range(50):
        middle = (low + high) / 2
        excess = normal.pdf(middle) - middle * (1 - normal.cdf(middle))
        if excess > cost_sd:
            low = middle
        else:
            high = middle
    return fmean(scores) + spread / math.sqrt(len(scores)) + spread * (low + high) / 2


def adaptive_best_of_n(prompt: PoolPrompt, cap: int, *, cost_sd: float = ADAPTIVE_COST_SD) -> Run:
    """Return the best of as many as seem worth it: one candidate, one score, stop or go on.

    Source: optimal stopping as a Pandora's box with a learned reward distribution (arXiv
    2510.01394): stop when the best score passes an upper confidence bound of the fair cap,
    the value at which a further draw's expected excess equals its cost. Simplified here:
    the scores' tail is normal, not exponential; the bound is one standard error on the
    mean; and the cost is in standard deviations of this prompt's own scores, in place of
    the paper's Bradley-Terry transform, which needs a reward model's reference scores.
    """
    meter = Metered(prompt, cap)
    items: list[Item] = []
    scores: list[float | None] = []
    reason = "cap"
    while meter.left >= 2 or (meter.left and not items):
        found = meter.generate(1)
        meter.rounds += 1
        if not found:
            reason = "exhausted"
            break
        items += found
        if not meter.left:
            break
        scores += meter.judge(found)
        meter.rounds += 1
        known = [score for score in scores if score is not None]
        if len(known) >= ADAPTIVE_MIN_CANDIDATES and max(known) >= fair_cap(known, cost_sd):
            # Scores that are all alike have no spread: nothing more is expected of any.
            reason = "min_gain"
            break
    return meter.run(_best(items, scores), reason)
