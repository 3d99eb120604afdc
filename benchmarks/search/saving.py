"""Requests that a search saves by stopping on its own, compared with the fixed plan by cap.

The fixed plan asks the same number of requests of every prompt; a search that stops by gain
asks as many as it expects to pay. Over the prompts of a pool the fixed plan traces a curve of
mean requests against mean quality. The saving is read off horizontally: the least number of
requests at which the fixed plan is at least as good, against the requests that were made.

Between two caps the curve is a straight line, as a mixture of both would be. Where it falls, it
keeps what it had reached before: a dearer plan that is worse would not be chosen. Where it is
flat, a small loss of quality is bought by very few requests, so the saving may be far below 0
though little is lost; the difference in quality at equal requests is given for that reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.comparing import REQUESTS, SHARE, Comparison
from benchmarks.search.intervals import Drawn, Interval, Pooled, interval_of, pooled, resamples

__all__ = ["Saving", "calls_needed", "saving_of", "savings_over"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Saving:
    """Requests that one plan saves on one pool.

    Args:
        pool: its name.
        policy: the plan's label.
        cap: requests that it was allowed.
        requests: mean a prompt.
        quality: mean, as a share of the gap.
        fixed_requests: that the fixed plan needs for the same mean quality.
        saved: as a share of those; below 0 where the plan asks more.
        same_requests: quality less the fixed plan's at the same mean requests, interpolated, as
            a share of the gap.
        beyond: share of the resamples in which the fixed plan reaches the quality at none of
            its caps; its largest cap counts there, so the saving is understated.
        drawn: `saved` of each resample.
    """

    pool: str
    policy: str
    cap: int
    requests: float
    quality: float
    fixed_requests: float
    saved: Interval
    same_requests: Interval
    beyond: float
    drawn: Drawn = field(repr=False, compare=False)


def calls_needed(quality: float, calls: Floats, qualities: Floats) -> tuple[float, bool]:
    """Return the calls at which a curve first reaches a quality, and whether it ever does.

    Args:
        quality: wanted.
        calls: of the curve's points, rising.
        qualities: of the same points, in any order.
    """
    best = np.maximum.accumulate(qualities)
    reached = np.flatnonzero(best >= quality)
    if not len(reached):
        return float(calls[-1]), False
    place = int(reached[0])
    if not place:
        return float(calls[0]), True
    rise = best[place] - best[place - 1]
    part = (quality - best[place - 1]) / rise
    return float(calls[place - 1] + part * (calls[place] - calls[place - 1])), True


def saving_of(fixed: Sequence[Comparison], plan: Comparison, seed: int = 0) -> Saving:
    """Return what a plan saves on a pool, compared with the fixed one at several caps.

    Args:
        fixed: the fixed plan at one cap or more, on the plan's pool.
        plan: which stops on its own.
        seed: of the bootstrap.

    Raises:
        ValueError: when the fixed plan was not run on that pool's prompts.
    """
    if not fixed or {row.prompts for row in fixed} != {plan.prompts}:
        raise ValueError(f"the fixed plan was not run on the prompts of {plan.pool}")
    curve = sorted(fixed, key=lambda row: row.requests)
    weights = resamples(plan.prompts, seed)
    requests, quality = (
        np.stack([row.per_prompt[name] for row in (*curve, plan)]) for name in (REQUESTS, SHARE)
    )
    saved, rises, beyond = np.empty(len(weights)), np.empty(len(weights)), 0
    of_draws = zip(weights @ requests.T, weights @ quality.T, strict=True)
    for draw, (calls, qualities) in enumerate(of_draws):
        wanted, is_reached = calls_needed(qualities[-1], calls[:-1], qualities[:-1])
        saved[draw] = 1 - calls[-1] / wanted
        rises[draw] = qualities[-1] - np.interp(calls[-1], calls[:-1], qualities[:-1])
        beyond += not is_reached
    calls, qualities = requests.mean(axis=1), quality.mean(axis=1)
    needed, _ = calls_needed(qualities[-1], calls[:-1], qualities[:-1])
    rise = qualities[-1] - np.interp(calls[-1], calls[:-1], qualities[:-1])
    drawn = Drawn(float(1 - calls[-1] / needed), saved, plan.prompts)
    return Saving(
        pool=plan.pool,
        policy=plan.policy,
        cap=plan.cap,
        requests=float(calls[-1]),
        quality=float(qualities[-1]),
        fixed_requests=needed,
        saved=interval_of([drawn]),
        same_requests=interval_of([Drawn(float(rise), rises, plan.prompts)]),
        beyond=beyond / len(weights),
        drawn=drawn,
    )


def savings_over(savings: Sequence[Saving]) -> Mapping[tuple[str, int], Pooled]:
    """Return the share saved by plan and cap, mean over pools, each pool counting once."""
    groups: dict[tuple[str, int], dict[str, Drawn]] = {}
    for saving in savings:
        groups.setdefault((saving.policy, saving.cap), {})[saving.pool] = saving.drawn
    return {plan: pooled(drawn) for plan, drawn in groups.items()}
