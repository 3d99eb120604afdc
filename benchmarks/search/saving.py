"""Calls that `min_gain` saves at the same mean quality, compared with the fixed plan by cap.

The fixed plan asks the same number of calls of every prompt; with `min_gain` a search
asks as many as it expects to pay. On a mix of prompts both trace a curve of mean calls
against mean quality. The saving of one point is read off horizontally: the calls that
the fixed plan needs for the point's quality, interpolated between caps, against the calls
that the point took. Its interval is of the same draws of prompts for both.

Prompts of several pools are put on one scale: truth less the prompt's random truth, over
the pool's mean gap from random to oracle. 0 is random, 1 the oracle, on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.collecting import Runs
from benchmarks.search.intervals import Interval

__all__ = ["CurvePoint", "Resampled", "Saving", "calls_needed", "normalised", "savings"]

Floats = NDArray[np.float64]

DRAWS = 4000
"""Resamples of the bootstrap."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One setting on the mix.

    Args:
        policy: its label.
        cap: requests that it was allowed.
        min_gain: of its knobs; None for the fixed plan.
        calls: mean requests per prompt.
        quality: mean normalised quality.
    """

    policy: str
    cap: int
    min_gain: float | None
    calls: Interval
    quality: Interval


@dataclass(frozen=True, slots=True)
class Saving:
    """Calls that one value of `min_gain` saves.

    Args:
        point: the setting with `min_gain`.
        fixed_calls: calls that the fixed plan needs for the same mean quality.
        share: calls saved as a share of those; below 0 where it asks more.
        same_calls: quality less the fixed plan's at the same mean calls, interpolated; on the
            common scale. Where the fixed plan's curve is flat, this shows more than the share.
        beyond: share of the resamples in which the fixed plan reaches the quality at none of
            its caps; its largest cap counts there, so the saving is understated.
    """

    point: CurvePoint
    fixed_calls: float
    share: Interval
    same_calls: Interval
    beyond: float


class Resampled:
    """Prompts drawn with replacement, many times; the same draws for whatever is averaged.

    Args:
        strata: for each prompt, the group that it is drawn within.
        seed: of the draws.
        draws: how many.
    """

    def __init__(self, strata: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> None:
        if not strata:
            raise ValueError("there is no prompt to draw from")
        lots = np.random.default_rng([77, seed])
        groups = np.asarray(strata)
        self.weights: Floats = np.zeros((draws, len(strata)))
        for group in sorted(set(strata)):
            places = np.flatnonzero(groups == group)
            chances = np.full(len(places), 1 / len(places))
            self.weights[:, places] = lots.multinomial(len(places), chances, draws)
        self.weights /= len(strata)

    def means(self, values: Floats) -> Floats:
        """Return the mean of each draw, (draws, ...), of values (prompts, ...)."""
        return np.asarray(np.tensordot(self.weights, values, axes=(1, 0)))

    def interval(self, mean: float, drawn: Floats) -> Interval:
        """Return a figure with the middle 95 % of its draws."""
        low, high = np.quantile(drawn, (0.025, 0.975))
        return Interval(mean, float(low), float(high), self.weights.shape[1])


def normalised(runs: Runs) -> Floats:
    """Return a policy's quality by prompt on the common scale, mean over seeds, (prompts,).

    Raises:
        ValueError: for a pool in which nothing is better than a pick by lot.
    """
    gap = float((runs.oracle_truth - runs.random_truth).mean())
    if not gap > 0:
        raise ValueError(f"{runs.pool}: the oracle is no better than a pick by lot")
    quality: Floats = (runs.values["truth"].mean(axis=1) - runs.random_truth) / gap
    return quality


def calls_needed(quality: float, calls: Floats, qualities: Floats) -> tuple[float, bool]:
    """Return the calls at which a curve first reaches a quality, and whether it ever does.

    Between two points the curve is a straight line: a mix of both caps would reach it.

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


def savings(
    fixed: Sequence[Runs], adaptive: Sequence[Runs], *, seed: int = 0, draws: int = DRAWS
) -> tuple[list[CurvePoint], list[Saving]]:
    """Return the fixed plan's curve, and what each value of `min_gain` saves against it.

    Args:
        fixed: one policy without `min_gain`, at several caps, on several pools.
        adaptive: policies with values of `min_gain`, on the same pools.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Raises:
        ValueError: when some policy and cap was not run on all pools.
    """
    pools = {each.pool: len(each.prompts) for each in fixed}
    resampled = Resampled(
        [pool for pool, count in pools.items() for _ in range(count)], seed=seed, draws=draws
    )
    curve = sorted(
        (_table(group, list(pools)) for group in _grouped(fixed)),
        key=lambda table: float(table[0].mean()),
    )
    points = [_point(group, _table(group, list(pools)), resampled) for group in _grouped(fixed)]
    stacked = np.stack(curve)  # (settings, 2, prompts)
    drawn = resampled.means(np.moveaxis(stacked, 2, 0))  # (draws, settings, 2)
    found = []
    for group in _grouped(adaptive):
        table = _table(group, list(pools))
        point = _point(group, table, resampled)
        found.append(_saving(point, table, stacked.mean(axis=2), drawn, resampled))
    return points, found


def _grouped(runs: Sequence[Runs]) -> list[list[Runs]]:
    """Return runs by policy and cap, each group with its pools."""
    groups: dict[tuple[str, int], list[Runs]] = {}
    for each in runs:
        groups.setdefault((each.policy, each.cap), []).append(each)
    return list(groups.values())


def _table(group: Sequence[Runs], pools: Sequence[str]) -> Floats:
    """Return requests and quality by prompt over all pools, (2, prompts)."""
    by_pool = {each.pool: each for each in group}
    missing = [pool for pool in pools if pool not in by_pool]
    if missing:
        raise ValueError(f"{group[0].policy} at {group[0].cap} was not run on {missing[0]}")
    parts = [
        np.stack([by_pool[pool].values["requests"].mean(axis=1), normalised(by_pool[pool])])
        for pool in pools
    ]
    return np.concatenate(parts, axis=1)


def _point(group: Sequence[Runs], table: Floats, resampled: Resampled) -> CurvePoint:
    calls, quality = (resampled.interval(float(row.mean()), resampled.means(row)) for row in table)
    return CurvePoint(group[0].policy, group[0].cap, group[0].min_gain, calls, quality)


def _saving(
    point: CurvePoint, table: Floats, curve: Floats, drawn: Floats, resampled: Resampled
) -> Saving:
    needed, _ = calls_needed(point.quality.mean, curve[:, 0], curve[:, 1])
    rise = point.quality.mean - float(np.interp(point.calls.mean, curve[:, 0], curve[:, 1]))
    own = resampled.means(table.T)  # (draws, 2)
    shares, rises, beyond = np.empty(len(own)), np.empty(len(own)), 0
    for draw, (calls, quality) in enumerate(own):
        fixed_calls, fixed_quality = drawn[draw, :, 0], drawn[draw, :, 1]
        wanted, is_reached = calls_needed(quality, fixed_calls, fixed_quality)
        shares[draw] = 1 - calls / wanted
        rises[draw] = quality - np.interp(calls, fixed_calls, fixed_quality)
        beyond += not is_reached
    return Saving(
        point=point,
        fixed_calls=needed,
        share=resampled.interval(1 - point.calls.mean / needed, shares),
        same_calls=resampled.interval(rise, rises),
        beyond=beyond / len(own),
    )
