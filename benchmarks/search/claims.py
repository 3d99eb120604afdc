"""Targets of the search, each with what was found, met or not.

The words and the figures follow from the comparisons alone; nothing is left out where a
promise fails. A promise about a mean over pools is met by the mean itself; next to it are its
interval and the pool that it is least true of. A difference whose interval contains 0 is marked
`open`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.figures import Figure
from benchmarks.search.bias import JudgeBias
from benchmarks.search.comparing import CLASSIC, PACKED, TREEQUEST, Average, Comparison, between
from benchmarks.search.intervals import Interval, Pooled
from benchmarks.search.overhead import StepCost
from benchmarks.search.saving import Saving, savings_over
from benchmarks.search.settings import preset_knobs, shipped_entries
from lats.search_plan import plan_search

__all__ = [
    "AUTO_CAPS",
    "auto_claims",
    "bias_words",
    "changes_by_cap",
    "overhead_claims",
    "quality_claims",
    "rounds_claims",
    "saving_claims",
    "shown",
]

AUTO_CAPS = (16, 6)
"""Caps of `auto` of which the larger must not be worse."""


def shown(interval: Interval) -> str:
    """Return a difference in percent with its interval, and whether it is open.

    Two policies that always pick alike are `equal`.
    """
    if interval.low == interval.high == 0:
        return "equal"
    mean, low, high = (100 * at for at in (interval.mean, interval.low, interval.high))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" + (", open" if interval.is_open else "")


def _shown_over(found: Pooled) -> str:
    pool, least = found.least
    return f"{shown(found.mean)}; least {shown(least)} on {pool}"


def _is_worse_nowhere(found: Pooled) -> bool:
    """Whether no pool's interval lies below 0 altogether."""
    return all(each.high >= 0 for each in found.by_pool.values())


def quality_claims(averages: Iterable[Average]) -> list[Figure]:
    """Return what the shipped searches are better by, mean over pools, in percent of the gap."""
    found = {row.policy: row for row in averages}
    wanted = (
        ("balanced", CLASSIC, 0.15, ">= +15, on no pool below 0 beyond noise"),
        ("balanced", PACKED, 0.06, ">= +6"),
        ("balanced", TREEQUEST, 0.12, ">= +12"),
        ("frugal", CLASSIC, 0.08, ">= +8, on no pool below -2"),
    )
    figures = []
    for preset, baseline, least, target in wanted:
        difference = found[preset].less.get(baseline) if preset in found else None
        if difference is None:
            continue
        is_met = difference.mean.mean >= least
        if (preset, baseline) == ("balanced", CLASSIC):
            is_met = is_met and _is_worse_nowhere(difference)
        elif preset == "frugal":
            is_met = is_met and difference.least[1].mean >= -0.02
        what = f"`{preset}` ({found[preset].cap}) less {baseline}, mean over pools"
        figures.append(Figure(what, _shown_over(difference), target, is_met))
    return figures


def auto_claims(comparisons: Sequence[Comparison], pools: Sequence[str]) -> list[Figure]:
    """Return what `auto` gains from a larger cap: mean over pools, and the worst pool of all.

    Args:
        comparisons: of these pools, and of others that are shown apart.
        pools: names of those that count in the mean.
    """
    what = "`auto` ({}) less `auto` ({})".format(*AUTO_CAPS)
    larger, smaller = (("auto", cap) for cap in AUTO_CAPS)
    counted = between([row for row in comparisons if row.pool in pools], larger, smaller)
    every = between(comparisons, larger, smaller)
    figures = []
    if counted is not None:
        is_met = counted.mean.mean >= 0
        figures.append(Figure(f"{what}, mean over pools", shown(counted.mean), ">= 0", is_met))
    if every is not None:
        pool, worst = every.least
        target = "on no pool below 0 beyond noise"
        found = f"{shown(worst)} on {pool}"
        figures.append(Figure(f"{what}, worst pool", found, target, _is_worse_nowhere(every)))
    return figures


BIAS_POLICIES = (
    "best-of-N, packed",
    "listwise, 32 per request",
    "listwise",
    "auto",
    "listwise by agreement",
)
"""Policies whose way from few requests to many is shown where a judge is biased."""


class Change(NamedTuple):
    """Gain of a policy on a pool from its smallest cap to its largest, paired over prompts."""

    pool: str
    policy: str
    first: int
    last: int
    gain: Interval


def changes_by_cap(comparisons: Sequence[Comparison]) -> list[Change]:
    """Return what more requests bring on pools with a biased judge, pool after pool."""
    found = []
    for pool in dict.fromkeys(row.pool for row in comparisons):
        for policy in BIAS_POLICIES:
            own = [row for row in comparisons if (row.pool, row.policy) == (pool, policy)]
            caps = [row.cap for row in own if row.is_reported]
            if len(caps) < 2:
                continue
            first, last = min(caps), max(caps)
            change = between(own, (policy, last), (policy, first))
            if change is not None:
                found.append(Change(pool, policy, first, last, change.mean))
    return found


def bias_words(biases: Iterable[JudgeBias], comparisons: Sequence[Comparison]) -> str:
    """Return which judges mislead a search that reads more, and what more requests did there.

    Args:
        biases: of all judges.
        comparisons: of the pools with a biased judge.
    """
    parts = []
    rising = 0
    for each in biases:
        if not each.falls:
            rising += 1
            continue
        wrong = (
            ""
            if math.isnan(each.wrong_checks)
            else f"{each.wrong_checks:.0%} of its checks fail most of the best candidates; "
        )
        most, least = (100 * each.best_of[count] for count in (each.peak, each.last))
        parts.append(
            f"{each.pool}: {wrong}one call puts {each.pairs_one:.0%} of the pairs in order, all "
            f"calls together {each.pairs_all:.0%}. Even so, the candidate that all calls together "
            f"score highest is worth {most:.0f} % of the gap among {each.peak} candidates, and "
            f"{least:.0f} % among {each.last}."
        )
    if rising:
        parts.append(f"Pools of whole answers without such a fall: {rising}.")
    changes = changes_by_cap(comparisons)
    known = [each for each in changes if not each.gain.is_open]
    for word, found in (
        ("Worse", [each for each in known if each.gain.mean < 0]),
        ("Better", [each for each in known if each.gain.mean > 0]),
    ):
        named = "; ".join(
            f"`{each.policy}` {each.first} to {each.last} on {each.pool} "
            f"({100 * each.gain.mean:+.1f})"
            for each in found
        )
        if found:
            parts.append(f"{word} with more requests: {named}.")
    if len(known) < len(changes):
        parts.append(f"Open: {len(changes) - len(known)} of {len(changes)} such changes.")
    return "\n\n".join(parts)


def saving_claims(savings: Sequence[Saving], plan: tuple[str, int]) -> list[Figure]:
    """Return the requests that a plan saves at equal quality: mean over pools, and the worst.

    Args:
        savings: of any plans.
        plan: label and cap of the one that is claimed.
    """
    found = savings_over(savings).get(plan)
    if found is None:
        return []
    pool, worst = found.least
    what = f"requests saved by `{plan[0]}` ({plan[1]}) at equal quality"
    return [
        Figure(
            f"{what}, mean over pools", _percent(found.mean), ">= 15 %", found.mean.mean >= 0.15
        ),
        Figure(f"{what}, worst pool", f"{_percent(worst)} on {pool}", ">= 0 %", worst.mean >= 0),
    ]


def _percent(interval: Interval) -> str:
    return f"{interval.mean:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def rounds_claims() -> list[Figure]:
    """Return the rounds of the shipped plans that do not stop by gain: exact, not measured."""
    figures = []
    for entry in shipped_entries()[:2]:
        rounds = len(plan_search(preset_knobs(entry.policy)).rounds)
        what = f"rounds of `{entry.policy}` ({entry.cap}), as planned"
        figures.append(Figure(what, f"{rounds}", "2", rounds == 2))
    return figures


def overhead_claims(costs: Sequence[StepCost]) -> list[Figure]:
    """Return whether our steps keep their targets."""
    return [
        Figure(
            f"`{cost.engine}`, us a step at {cost.nodes} nodes",
            f"{cost.step_microseconds:.0f}"
            + ("" if cost.ratio is None else f" ({cost.ratio:.2f} x treequest's MCTS)"),
            f"<= {cost.target_microseconds:.0f}",
            cost.is_met,
        )
        for cost in costs
        if cost.target_microseconds is not None
    ]
