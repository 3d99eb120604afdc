"""Targets of the search, each with what was found, met or not.

The words and the figures follow from the comparisons alone; nothing is left out where a
promise fails. A promise about pools is met on a pool or not, pool by pool; p-values are
adjusted over the pools by Holm's method.
"""

from collections.abc import Sequence

from benchmarks.figures import Figure
from benchmarks.search.comparing import Comparison
from benchmarks.search.intervals import MARGIN_SHARE, Interval, holm
from benchmarks.search.overhead import StepCost
from benchmarks.search.saving import Saving
from benchmarks.search.settings import CHECKED, HEADLINE_MIN_GAIN
from lats.search_knobs import EarlyExitKnobs, SearchKnobs
from lats.search_plan import plan_search

__all__ = [
    "MIN_SAVING",
    "harmless_claims",
    "overhead_claims",
    "quality_claims",
    "rounds_claims",
    "saving_claims",
]

MIN_SAVING = 0.20
"""Share of calls that `min_gain` should save at the same mean quality."""

CLAIMED = tuple(f"{policy}{how}" for policy in CHECKED for how in ("", " by agreement"))
"""Policies that promise something; by agreement only where judges give checks."""


def _shown(interval: Interval, scale: float = 1.0) -> str:
    mean, low, high = (at / scale for at in (interval.mean, interval.low, interval.high))
    return f"{mean:+.1%} ({low:+.1%} to {high:+.1%})"


def quality_claims(comparisons: Sequence[Comparison]) -> list[Figure]:
    """Return whether 6 requests are no worse than the classic 11, and 11 better, pool by pool."""
    figures = []
    for cap, wanted in ((6, "not worse"), (11, "better")):
        for policy in CLAIMED:
            rows = [row for row in comparisons if (row.policy, row.cap) == (policy, cap)]
            p_values = holm(
                {
                    row.pool: row.claim.p_better if wanted == "better" else row.claim.p_not_worse
                    for row in rows
                    if row.claim is not None and row.verdict != "not reported"
                }
            )
            figures += [_quality(row, wanted, p_values.get(row.pool)) for row in rows]
    return figures


def _quality(row: Comparison, wanted: str, p_value: float | None) -> Figure:
    what = f"{row.pool}: `{row.policy}` at {row.cap} against `classic_uct` at 11, share of gap"
    if row.verdict == "not reported":
        return Figure(what, f"not reported: {row.miss_rate:.0%} misses", wanted)
    if row.claim is None:
        return Figure(
            what, "nothing to hold it against: the classic search missed too much", wanted
        )
    is_met = row.claim.is_better if wanted == "better" else row.claim.is_not_worse
    words = _shown(row.claim.difference, row.gap)
    if p_value is not None:
        words += f"; p {p_value:.3f}"
    needed = row.claim.prompts_needed
    if not is_met and wanted == "not worse" and needed is not None:
        words += f"; would take {needed} prompts"
    return Figure(what, words, wanted, is_met)


def rounds_claims() -> list[Figure]:
    """Return the rounds of `listwise` by cap, as its plan gives them: exact, not measured."""
    figures = []
    for cap, refine, wanted in (
        *((cap, True, 2) for cap in (2, 3, 4, 5)),
        (6, False, 2),
        (6, True, 4),
    ):
        knobs = SearchKnobs(
            policy="listwise",
            max_calls=cap,
            refine=refine,
            early_exit=EarlyExitKnobs(enabled=False),
        )
        rounds = len(plan_search(knobs).rounds)
        words = "" if refine or cap < 6 else ", without refinement"
        what = f"rounds of `listwise` at {cap}{words}"
        figures.append(Figure(what, f"{rounds}", f"{wanted}", rounds == wanted))
    return figures


def harmless_claims(at_16_beside_4: Sequence[Comparison]) -> list[Figure]:
    """Return whether a biased judge does no harm by being asked more.

    The mean alone decides: to exclude a small loss would take more prompts than were recorded.

    Args:
        at_16_beside_4: on the pool with the biased judge, each policy at 16 compared with
            itself at 4.
    """
    figures = []
    for row in at_16_beside_4:
        if row.claim is None:
            continue
        words = f"{_shown(row.claim.difference, row.gap)}; {row.requests:.1f} requests made"
        figures.append(
            Figure(
                f"{row.pool}: `{row.policy}` at 16 against itself at 4, share of gap",
                words,
                f"no loss above {MARGIN_SHARE:.0%} on average",
                row.claim.difference.mean >= -row.claim.margin,
            )
        )
    return figures


def saving_claims(mix: str, savings: Sequence[Saving]) -> list[Figure]:
    """Return what the value of `min_gain` that was chosen beforehand saves on a mix."""
    return [
        Figure(
            f"{mix}: calls saved by `{saving.point.policy}` at the same mean quality",
            f"{saving.share.mean:.0%} ({saving.share.low:.0%} to {saving.share.high:.0%})",
            f">= {MIN_SAVING:.0%}",
            saving.share.mean >= MIN_SAVING,
        )
        for saving in savings
        if saving.point.min_gain == HEADLINE_MIN_GAIN
    ]


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
