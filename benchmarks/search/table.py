"""The table: every figure of a run as Markdown."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from benchmarks.search.calibrated import JudgeFigures, TrustRow
from benchmarks.search.comparing import BASELINE, Comparison
from benchmarks.search.intervals import Interval
from benchmarks.search.overhead import StepCost
from benchmarks.search.saving import CurvePoint, Saving

__all__ = [
    "GRID_COLUMNS",
    "TABLE_CAPS",
    "grid_table",
    "overhead_table",
    "pool_table",
    "saving_table",
    "trust_table",
]

TABLE_CAPS = (3, 6, 11, 16)
"""Caps that the Markdown shows; the JSON has all. Of the classic search, 11 only."""

GRID_COLUMNS: tuple[tuple[str, int], ...] = (
    BASELINE,
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


def _rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _interval(interval: Interval, digits: int, *, sign: bool = False) -> str:
    form = f"+.{digits}f" if sign else f".{digits}f"
    return f"{interval.mean:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def pool_table(comparisons: Sequence[Comparison], caps: Sequence[int] = TABLE_CAPS) -> str:
    """Return one pool's table: policy by cap, with the classic search at 11.

    Args:
        comparisons: of one pool.
        caps: that are shown.

    Raises:
        ValueError: when they are of several pools, or there are none.
    """
    if len({row.pool for row in comparisons}) != 1:
        raise ValueError("a table has the comparisons of one pool")
    head = ["policy", "cap", "requests", "completions", "items read", "rounds", "true quality"]
    head += ["less classic at 11, paired", "share of gap", "verdict"]
    body = []
    for row in comparisons:
        if row.cap not in caps or (row.policy == BASELINE[0] and row.cap != BASELINE[1]):
            continue
        is_shown = row.verdict != "not reported"
        verdict = row.verdict if is_shown else f"not reported: {row.miss_rate:.0%} misses"
        difference = "" if row.claim is None else _interval(row.claim.difference, 3, sign=True)
        body.append(
            [
                row.policy,
                f"{row.cap}",
                f"{row.requests:.2f}",
                f"{row.completions:.1f}",
                f"{row.items:.1f}",
                f"{row.rounds:.1f}",
                _interval(row.quality, 3) if is_shown else "",
                difference if is_shown else "",
                "" if row.share is None or not is_shown else f"{row.share:+.1%}",
                f"**{verdict}**" if verdict in {"better", "worse"} else verdict,
            ]
        )
    first = comparisons[0]
    line = (
        f"{first.quality.prompts} prompts; random {first.random_truth:.3f}, "
        f"oracle {first.oracle_truth:.3f}.\n\n"
    )
    return line + _rows(head, body)


def saving_table(points: Sequence[CurvePoint], savings: Sequence[Saving]) -> str:
    """Return the fixed plan's curve and what each value of `min_gain` saves against it."""
    head = ["plan", "cap", "min_gain", "calls", "quality, share of gap"]
    head += ["fixed plan's calls for that", "calls saved", "quality less the fixed plan's there"]
    body = [
        [
            f"{point.policy}, fixed",
            f"{point.cap}",
            "",
            _interval(point.calls, 2),
            _interval(point.quality, 3),
            "",
            "",
            "",
        ]
        for point in points
    ]
    for saving in savings:
        point = saving.point
        beyond = f"; beyond the fixed plan in {saving.beyond:.0%} of draws" if saving.beyond else ""
        body.append(
            [
                point.policy.split(",", maxsplit=1)[0],
                f"{point.cap}",
                f"{point.min_gain or 0:g}",
                _interval(point.calls, 2),
                _interval(point.quality, 3),
                f"{saving.fixed_calls:.2f}",
                f"{saving.share.mean:.0%} ({saving.share.low:.0%} to {saving.share.high:.0%})"
                + beyond,
                _interval(saving.same_calls, 3, sign=True),
            ]
        )
    return _rows(head, body)


def grid_table(comparisons: Sequence[Comparison]) -> str:
    """Return the simulated grid: a line a setting, a column a policy at a cap.

    A cell is the mean quality and half of its interval's width; `+` marks those better than
    the classic search at 11, `-` those worse.
    """
    marks = {"better": " +", "worse": " -"}
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
            half = (row.quality.high - row.quality.low) / 2
            cells.append(f"{row.quality.mean:.2f} ±{half:.2f}{marks.get(row.verdict, '')}")
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
