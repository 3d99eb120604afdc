"""The tables of a report, in Markdown. Shares and differences are in percent of the gap."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TypeVar

from benchmarks.search.bias import JudgeBias
from benchmarks.search.calibrated import JudgeFigures, TrustRow
from benchmarks.search.claims import AUTO_CAPS, changes_by_cap, shown
from benchmarks.search.collecting import MAX_MISS_RATE
from benchmarks.search.comparing import (
    BASELINES,
    CLASSIC,
    Average,
    Comparison,
    between,
)
from benchmarks.search.confidence import EDGES, Bin
from benchmarks.search.intervals import Interval
from benchmarks.search.overhead import StepCost
from benchmarks.search.saving import Saving, savings_over
from benchmarks.search.settings import CAPS, PRESETS

__all__ = [
    "GRID_COLUMNS",
    "bias_table",
    "by_pool_table",
    "confidence_table",
    "grid_table",
    "judges_table",
    "mean_tables",
    "overhead_table",
    "pool_tables",
    "saving_table",
    "share_table",
    "trust_table",
]

GRID_COLUMNS: tuple[tuple[str, int], ...] = (
    ("classic_uct", 11),
    ("best_of_n", 6),
    ("listwise", 3),
    ("listwise", 6),
    ("auto", 6),
    ("listwise", 11),
    ("posterior_uct", 11),
    ("auto", 11),
    ("treequest StandardMCTS", 11),
    ("treequest AB-MCTS-A", 11),
    ("best-of-N, plain", 11),
    ("best-of-N, packed", 11),
    ("best-of-N, adaptive", 11),
)
"""Policy and cap of each column of the simulated grid."""

_SHORT: Mapping[str, str] = MappingProxyType(
    {"treequest StandardMCTS": "tq MCTS", "treequest AB-MCTS-A": "tq AB-MCTS-A"}
)


RowT = TypeVar("RowT", Comparison, Average)


def _rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.0f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _matrix(
    title: str, rows: Sequence[RowT], cell: Callable[[RowT], str], caps: Sequence[int]
) -> str:
    """Return a line a policy, a column a cap; policies without any cell are left out."""
    body: list[list[str]] = []
    for policy in dict.fromkeys(row.policy for row in rows):
        at = {row.cap: cell(row) for row in rows if row.policy == policy}
        cells: list[str] = [at.get(cap, "") for cap in caps]
        if any(cells):
            body.append([policy, *cells])
    return _rows([title, *map(str, caps)], body) if body else ""


def _less(baseline: str) -> Callable[[Comparison], str]:
    def cell(row: Comparison) -> str:
        found = row.less.get(baseline)
        return "" if found is None or not row.is_reported else shown(found)

    return cell


def _share(row: Comparison) -> str:
    if row.is_reported:
        return _percent(row.share)
    return f"not reported: {row.miss_rate:.0%} misses"


def pool_tables(comparisons: Sequence[Comparison], caps: Sequence[int] = CAPS) -> str:
    """Return one pool's tables: shares, differences to each baseline, requests; policy by cap.

    Args:
        comparisons: of one pool.
        caps: that have a column. `classic_uct` at others is in a separate line.

    Raises:
        ValueError: when they are of several pools, or there are none.
    """
    if len({row.pool for row in comparisons}) != 1:
        raise ValueError("a table has the comparisons of one pool")
    first = comparisons[0]
    others = [row for row in comparisons if row.cap not in caps]
    truths = f"{first.random_truth:.3f} by lot, {first.oracle_truth:.3f} at best"
    lines = [f"{len(first.prompts)} prompts; true quality {truths}."]
    if others:
        words = ", ".join(f"{_share(row)} at {row.cap}" for row in others)
        lines.append(f"`{others[0].policy}`, share of the gap: {words}.")
    if any(not row.is_reported for row in comparisons):
        lines.append(
            f"Not reported are policies of which more than {MAX_MISS_RATE:.0%} of the requests to "
            "go on from a candidate were never recorded."
        )
    parts = ["\n".join(lines) + "\n", _matrix("share of the gap, %", comparisons, _share, caps)]
    parts += [
        _matrix(f"less {baseline}", comparisons, _less(baseline), caps) for baseline in BASELINES
    ]
    parts.append(_matrix("requests; rounds; items read", comparisons, _spent, caps))
    return "\n".join(part for part in parts if part)


def _spent(row: Comparison) -> str:
    return f"{row.requests:.1f}; {row.rounds:.1f}; {row.items:.0f}"


def share_table(averages: Sequence[Average], caps: Sequence[int] = CAPS) -> str:
    """Return the mean share of the gap over pools, policy by cap."""
    return _matrix("share of the gap, %", averages, lambda row: _percent(row.share.mean), caps)


def mean_tables(averages: Sequence[Average], caps: Sequence[int] = CAPS) -> str:
    """Return means over pools, policy by cap: shares, differences, requests and rounds."""
    parts = [share_table(averages, caps)]
    parts += [
        _matrix(f"less {baseline}", averages, _mean_less(baseline), caps) for baseline in BASELINES
    ]
    parts.append(
        _matrix(
            "requests; rounds", averages, lambda row: f"{row.requests:.1f}; {row.rounds:.1f}", caps
        )
    )
    return "\n".join(part for part in parts if part)


def _mean_less(baseline: str) -> Callable[[Average], str]:
    def cell(row: Average) -> str:
        found = row.less.get(baseline)
        return "" if found is None else shown(found.mean)

    return cell


def by_pool_table(comparisons: Sequence[Comparison], averages: Sequence[Average]) -> str:
    """Return the presets' searches pool by pool, the mean over pools, and its spread.

    Pools in which none of these differences is reported are left out.

    Args:
        comparisons: of all pools.
        averages: means over the pools that count.
    """
    presets = {row.policy: row for row in averages if row.policy in PRESETS}
    if not presets:
        return ""
    columns = [(name, row.cap) for name, row in presets.items()]
    columns = [
        ("classic_uct", 11),
        ("best-of-N, packed", 6),
        ("treequest StandardMCTS", 11),
        *columns,
    ]
    wanted = [("frugal", CLASSIC), *(("balanced", baseline) for baseline in BASELINES)]
    wanted = [pair for pair in wanted if pair[0] in presets and pair[1] in presets[pair[0]].less]
    head = ["pool", *(f"{policy} {cap}" for policy, cap in columns)]
    head += [f"{preset} less {baseline}" for preset, baseline in wanted]
    head.append("auto {} less auto {}".format(*AUTO_CAPS))
    larger, smaller = (("auto", cap) for cap in AUTO_CAPS)
    every = between(comparisons, larger, smaller)
    of_auto = {} if every is None else every.by_pool
    counted = next(iter(presets.values())).share.by_pool
    body: list[list[str]] = []
    apart: list[list[str]] = []
    for pool in dict.fromkeys(row.pool for row in comparisons):
        own = {(row.policy, row.cap): row for row in comparisons if row.pool == pool}
        cells = [pool]
        for column in columns:
            row = own.get(column)
            cells.append(
                "" if row is None or not row.is_reported else f"{100 * row.share.mean:.0f}"
            )
        for preset, baseline in wanted:
            cells.append(_less(baseline)(own[preset, presets[preset].cap]))
        cells.append(shown(of_auto[pool]) if pool in of_auto else "")
        if any(cells[1 + len(columns) :]):
            (body if pool in counted else apart).append(cells)
    means = {(row.policy, row.cap): row for row in averages}
    cells = [f"**mean of these {len(body)}**"]
    spread = ["standard deviation between them"]
    for column in columns:
        found = means[column].share if column in means else None
        cells.append("" if found is None else f"{100 * found.mean.mean:.0f}")
        spread.append("" if found is None else f"{_spread(found.by_pool):.0f}")
    for preset, baseline in wanted:
        difference = presets[preset].less[baseline]
        cells.append(shown(difference.mean))
        spread.append(f"{_spread(difference.by_pool):.0f}")
    counted_auto = between([row for row in comparisons if row.pool in counted], larger, smaller)
    cells.append("" if counted_auto is None else shown(counted_auto.mean))
    spread.append("" if counted_auto is None else f"{_spread(counted_auto.by_pool):.0f}")
    return _rows(head, [*body, cells, spread, *apart])


def _spread(by_pool: Mapping[str, Interval]) -> float:
    """Return the standard deviation between pools, in percent of the gap; 0 of one pool."""
    means = [each.mean for each in by_pool.values()]
    centre = sum(means) / len(means)
    return 100 * math.sqrt(sum((mean - centre) ** 2 for mean in means) / max(len(means) - 1, 1))


def judges_table(biases: Sequence[JudgeBias]) -> str:
    """Return each pool's judge, noise averaged out: pairs, checks, and the best-scored of many."""
    sizes = sorted({count for each in biases for count in each.best_of})
    head = ["judge of", "pairs in order, one call", "all calls", "wrong checks"]
    head += [f"best of {count}" for count in sizes]
    body = []
    for each in biases:
        wrong = "" if math.isnan(each.wrong_checks) else f"{each.wrong_checks:.0%}"
        cells = [each.pool, f"{each.pairs_one:.0%}", f"{each.pairs_all:.0%}", wrong]
        cells += [
            f"{100 * each.best_of[count]:.0f}" if count in each.best_of else "" for count in sizes
        ]
        body.append(cells)
    return _rows(head, body)


def bias_table(comparisons: Sequence[Comparison], caps: Sequence[int] = CAPS) -> str:
    """Return what a biased judge does from the smallest cap to the largest, pool by pool.

    Args:
        comparisons: of the pools with a biased judge.
        caps: that have a column.
    """
    head = ["share of the gap, %", *map(str, caps), "last less first"]
    known = {(row.pool, row.policy, row.cap): row for row in comparisons if row.is_reported}
    body = []
    for each in changes_by_cap(comparisons):
        at = [known.get((each.pool, each.policy, cap)) for cap in caps]
        cells = ["" if row is None else f"{100 * row.share.mean:.0f}" for row in at]
        body.append([f"{each.pool}: {each.policy}", *cells, shown(each.gain)])
    return _rows(head, body)


def saving_table(savings: Sequence[Saving]) -> str:
    """Return what each plan that stops by gain saves, pool by pool and on average."""
    head = ["plan", "pool", "requests", "share of the gap, %", "fixed plan's requests for that"]
    head += ["requests saved", "quality less the fixed plan's at as many requests"]
    body = []
    for (policy, cap), found in savings_over(savings).items():
        for saving in savings:
            if (saving.policy, saving.cap) != (policy, cap):
                continue
            beyond = f"; never reached in {saving.beyond:.0%} of draws" if saving.beyond else ""
            body.append(
                [
                    f"{policy} {cap}",
                    saving.pool,
                    f"{saving.requests:.2f}",
                    f"{100 * saving.quality:.1f}",
                    f"{saving.fixed_requests:.2f}",
                    _percent(saving.saved) + " %" + beyond,
                    shown(saving.same_requests),
                ]
            )
        body.append([f"{policy} {cap}", "**mean**", "", "", "", _percent(found.mean) + " %", ""])
    return _rows(head, body)


def confidence_table(bins: Sequence[Bin]) -> str:
    """Return the reliability curve of each pool: said and true by bin, and the runs in it."""
    pairs = list(pairwise(EDGES))
    head = ["said: best with a chance of", *(f"{low:g} to {high:g}" for low, high in pairs)]
    body = []
    for pool in dict.fromkeys(each.pool for each in bins):
        own = {each.low: each for each in bins if each.pool == pool}
        cells = []
        for low, _ in pairs:
            each = own.get(low)
            if each is None or not each.runs:
                cells.append("")
            else:
                cells.append(f"{each.said:.2f} / {each.true:.2f} ({each.runs})")
        body.append([pool, *cells])
    return _rows(head, body)


def grid_table(comparisons: Sequence[Comparison]) -> str:
    """Return the simulated grid: a line a setting, a column a policy at a cap.

    A cell is the share of the gap and half of its interval's width; `+` marks those better than
    the classic search at 11, `-` those worse.
    """
    known = {(row.pool, row.policy, row.cap): row for row in comparisons}
    columns = [
        column
        for column in GRID_COLUMNS
        if any((row.policy, row.cap) == column for row in comparisons)
    ]
    body = []
    for pool in dict.fromkeys(row.pool for row in comparisons):
        cells = [pool.removeprefix("simulated: ")]
        for policy, cap in columns:
            row = known.get((pool, policy, cap))
            if row is None:
                cells.append("")
                continue
            half = 50 * (row.share.high - row.share.low)
            difference = row.less.get(CLASSIC)
            mark = ""
            if difference is not None and not difference.is_open:
                mark = " +" if difference.mean > 0 else " -"
            cells.append(f"{100 * row.share.mean:.0f} ±{half:.0f}{mark}")
        body.append(cells)
    names = [f"{_SHORT.get(policy, policy)} {cap}" for policy, cap in columns]
    return _rows(["setting", *names], body)


def overhead_table(costs: Sequence[StepCost]) -> str:
    """Return what a step costs, in microseconds and relative to treequest's plain search."""
    head = ["search", "nodes", "us a step", "us a new node", "x treequest's MCTS", "target", "met"]
    body = []
    for cost in costs:
        target = cost.target_microseconds
        body.append(
            [
                cost.engine,
                f"{cost.nodes}",
                f"{cost.step_microseconds:.0f}",
                f"{cost.node_microseconds:.0f}",
                "" if cost.ratio is None else f"{cost.ratio:.2f}",
                "" if target is None else f"<= {target:.0f}",
                {None: "", True: "yes", False: "**no**"}[cost.is_met],
            ]
        )
    return _rows(head, body)


def trust_table(
    figures: Mapping[str, JudgeFigures], rows: Sequence[TrustRow], caps: Sequence[int] = (3, 6, 11)
) -> str:
    """Return the simulator and each pool: what it was given, and how far off it is.

    Args:
        figures: of each pool's judge, on the tuning half.
        rows: lines that both have.
        caps: whose shares are shown for `listwise`.
    """
    head = ["pool", "accuracy", "reliability", "no score", "candidates"]
    head += [f"listwise at {cap}, recorded / simulated" for cap in caps]
    head += ["mean distance", "inside the interval"]
    body = []
    for pool, judge in figures.items():
        mine = [row for row in rows if row.pool == pool]
        cells = [
            pool,
            f"{judge.accuracy:.2f}",
            f"{judge.reliability:.2f}",
            f"{judge.unjudged_rate:.0%}",
            f"{judge.candidates}",
        ]
        for cap in caps:
            found = [row for row in mine if (row.policy, row.cap) == ("listwise", cap)]
            cells += [f"{row.recorded:.2f} / {row.simulated:.2f}" for row in found] or [""]
        if mine:
            off = sum(abs(row.recorded - row.simulated) for row in mine) / len(mine)
            inside = sum(row.is_inside for row in mine)
            cells += [f"{off:.2f}", f"{inside} of {len(mine)}"]
        else:
            cells += ["", ""]
        body.append(cells)
    return _rows(head, body)
