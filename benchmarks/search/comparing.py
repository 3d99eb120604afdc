"""From runs to figures: shares of the gap, and differences paired with three baselines.

Everything is a share of the gap from a pick by lot (0) to the best recorded pick (1), the only
unit that pools have in common. `intervals` explains how intervals are made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.collecting import Runs
from benchmarks.search.intervals import Interval, Pooled, drawn_mean, interval_of, pooled

__all__ = [
    "BASELINES",
    "CLASSIC",
    "PACKED",
    "REQUESTS",
    "SHARE",
    "TREEQUEST",
    "Average",
    "Comparison",
    "averages",
    "between",
    "compare",
]

Floats = NDArray[np.float64]

CLASSIC, PACKED, TREEQUEST = "classic_uct at 11", "packed best-of-N", "treequest at 11"
BASELINES = (CLASSIC, PACKED, TREEQUEST)
"""Baselines: the specification's search; a best-of-N of packed requests at the same cap; of
treequest's two searches at 11 the one with the better mean on the pool."""

_TREEQUEST = ("treequest StandardMCTS", "treequest AB-MCTS-A")

SHARE, REQUESTS = "share", "requests"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy at one cap on one pool.

    Args:
        pool: its name.
        policy: the policy's label.
        cap: requests that it was allowed.
        requests: mean a prompt.
        completions: mean a prompt.
        items: mean a prompt.
        rounds: mean a prompt.
        miss_rate: misses as a share of the requests that go on from a candidate.
        is_reported: whether the record holds nearly all that it asked for.
        quality: mean truth of the pick, in the pool's unit.
        random_truth: mean of the pick by lot, in the pool's unit.
        oracle_truth: mean of the best pick there is, in the pool's unit.
        share: quality as a share of the gap.
        less: by baseline, the difference to it as a share of the gap. Baselines that were not
            run or are not reported are absent, and so is the policy itself.
        prompts: ids, in order.
        per_prompt: `share`, `requests` and the differences by prompt, (prompts,).
    """

    pool: str
    policy: str
    cap: int
    requests: float
    completions: float
    items: float
    rounds: float
    miss_rate: float
    is_reported: bool
    quality: float
    random_truth: float
    oracle_truth: float
    share: Interval
    less: Mapping[str, Interval]
    prompts: tuple[str, ...] = field(repr=False)
    per_prompt: Mapping[str, Floats] = field(repr=False, compare=False)


def compare(runs: Sequence[Runs]) -> list[Comparison]:
    """Return the comparison of every policy and cap of one pool with the baselines.

    Raises:
        ValueError: when they are of several pools, or of other prompts.
    """
    if len({(each.pool, each.prompts) for each in runs}) != 1:
        raise ValueError("a comparison is one of policies on the same prompts of one pool")
    known = {(each.policy, each.cap): each for each in runs if each.is_reported}
    rivals = [known[label, 11] for label in _TREEQUEST if (label, 11) in known]
    best_rival = max(rivals, key=lambda each: each.mean("truth"), default=None)
    return [
        _compared(
            each,
            {
                CLASSIC: known.get(("classic_uct", 11)),
                PACKED: known.get(("best-of-N, packed", each.cap)),
                TREEQUEST: best_rival,
            },
        )
        for each in runs
    ]


def _compared(runs: Runs, baselines: Mapping[str, Runs | None]) -> Comparison:
    shares = runs.shares
    others = {
        name: shares - other.shares
        for name, other in baselines.items()
        if other is not None and other is not runs
    }
    return Comparison(
        pool=runs.pool,
        policy=runs.policy,
        cap=runs.cap,
        requests=runs.mean("requests"),
        completions=runs.mean("completions"),
        items=runs.mean("items"),
        rounds=runs.mean("rounds"),
        miss_rate=runs.miss_rate,
        is_reported=runs.is_reported,
        quality=runs.mean("truth"),
        random_truth=float(runs.random_truth.mean()),
        oracle_truth=float(runs.oracle_truth.mean()),
        share=interval_of([drawn_mean(shares, runs.prompts)]),
        less={name: interval_of([drawn_mean(each, runs.prompts)]) for name, each in others.items()},
        prompts=runs.prompts,
        per_prompt={SHARE: shares, REQUESTS: runs.values["requests"].mean(axis=1), **others},
    )


@dataclass(frozen=True, slots=True)
class Average:
    """One policy at one cap, mean over pools, each pool counting once.

    Args:
        policy: the policy's label.
        cap: requests that it was allowed.
        requests: mean.
        rounds: mean.
        share: quality as a share of the gap.
        less: by baseline, the difference to it as a share of the gap; those that all pools have.
    """

    policy: str
    cap: int
    requests: float
    rounds: float
    share: Pooled
    less: Mapping[str, Pooled]


def averages(comparisons: Iterable[Comparison], pools: Iterable[str]) -> list[Average]:
    """Return the means over pools of each policy and cap that all of them report.

    Args:
        comparisons: of these pools, and perhaps others.
        pools: names of those that count.
    """
    wanted = list(pools)
    groups: dict[tuple[str, int], dict[str, Comparison]] = {}
    for row in comparisons:
        if row.pool in wanted and row.is_reported:
            groups.setdefault((row.policy, row.cap), {})[row.pool] = row
    return [
        Average(
            policy=policy,
            cap=cap,
            requests=float(np.mean([row.requests for row in rows.values()])),
            rounds=float(np.mean([row.rounds for row in rows.values()])),
            share=_over(rows, SHARE),
            less={
                name: _over(rows, name)
                for name in BASELINES
                if all(name in row.per_prompt for row in rows.values())
            },
        )
        for (policy, cap), rows in groups.items()
        if wanted and len(rows) == len(wanted)
    ]


def _over(rows: Mapping[str, Comparison], name: str) -> Pooled:
    return pooled(
        {pool: drawn_mean(row.per_prompt[name], row.prompts) for pool, row in rows.items()}
    )


def between(
    comparisons: Iterable[Comparison], ours: tuple[str, int], theirs: tuple[str, int]
) -> Pooled | None:
    """Return the difference of two policies, each at a cap, on the pools that report both.

    Args:
        comparisons: of several pools.
        ours: label and cap.
        theirs: label and cap.

    Returns:
        As shares of the gap; None where no pool reports both.
    """
    found: dict[tuple[str, int], dict[str, Comparison]] = {ours: {}, theirs: {}}
    for row in comparisons:
        if (row.policy, row.cap) in found and row.is_reported:
            found[row.policy, row.cap][row.pool] = row
    drawn = {
        pool: drawn_mean(row.per_prompt[SHARE] - found[theirs][pool].per_prompt[SHARE], row.prompts)
        for pool, row in found[ours].items()
        if pool in found[theirs]
    }
    return pooled(drawn) if drawn else None
