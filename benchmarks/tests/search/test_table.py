"""Tables: every figure in its place, and nothing shown that is not reported."""

import math
from dataclasses import replace

import pytest

from benchmarks.search.calibrated import JudgeFigures, TrustRow
from benchmarks.search.comparing import averages, compare
from benchmarks.search.confidence import Bin
from benchmarks.search.overhead import StepCost
from benchmarks.search.saving import saving_of
from benchmarks.search.table import (
    GRID_COLUMNS,
    bias_table,
    by_pool_table,
    confidence_table,
    grid_table,
    mean_tables,
    overhead_table,
    pool_tables,
    saving_table,
    trust_table,
)
from benchmarks.tests.search.test_comparing import NOISE, baseline, make_runs


def cells(table):
    """Return a Markdown table's cells by line, the head first."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in rows}) == 1
    return [rows[0], *rows[2:]]


def tables(text):
    """Return the cells of each table of a text, by the first cell of its head."""
    parts = [part for part in text.split("\n\n") if part.startswith("|")]
    return {found[0][0]: found for found in map(cells, parts)}


def test_a_pools_tables_hold_shares_differences_and_requests():
    """A line a policy, a column a cap; what is open is marked, what is equal is said."""
    runs = [
        baseline(NOISE),
        baseline(NOISE - 1),
        make_runs(NOISE + 1),
        make_runs(NOISE + 3 * NOISE[::-1], cap=3),
        make_runs(NOISE, policy="auto"),
    ]
    runs[1] = replace(runs[1], cap=7)
    text = pool_tables(compare(runs))
    assert text.startswith("40 prompts; true quality 0.000 by lot, 10.000 at best.")
    assert "`classic_uct`, share of the gap: " in text
    found = tables(text)
    head, classic, listwise, auto = found["share of the gap, %"]
    assert head[1:] == ["2", "3", "4", "6", "8", "11", "16"]
    assert (classic[0], listwise[0], auto[0]) == ("classic_uct", "listwise", "auto")
    assert listwise[head.index("6")].startswith(f"{100 * (NOISE.mean() + 1) / 10:.0f} (")
    _, listwise, auto = found["less classic_uct at 11"]
    assert listwise[head.index("6")] == "+10.0 (+10.0 to +10.0)"
    assert listwise[head.index("3")].endswith(", open")
    assert auto[head.index("6")] == "equal"
    assert found["requests; rounds; items read"][2][head.index("6")] == "6.0; 2.0; 0"
    assert "less packed best-of-N" not in found


def test_what_is_not_reported_has_no_quality():
    """Its misses are told, and nothing that might be quoted."""
    rows = compare([baseline(NOISE), make_runs(NOISE + 1, misses=0.5)])
    found = tables(pool_tables(rows))
    assert found["share of the gap, %"][2][4] == "not reported: 50% misses"
    assert "less classic_uct at 11" not in found


def test_a_table_is_of_one_pool():
    """Truths of two pools have two units."""
    rows = [*compare([make_runs(NOISE)]), *compare([make_runs(NOISE, pool="another")])]
    with pytest.raises(ValueError, match="one pool"):
        pool_tables(rows)


def shipped(pool, shift):
    """Return comparisons of both presets and all baselines on a pool."""
    return compare(
        [
            baseline(NOISE, pool=pool),
            make_runs(NOISE, policy="best-of-N, packed", cap=6, pool=pool),
            make_runs(NOISE, policy="treequest StandardMCTS", cap=11, pool=pool),
            make_runs(NOISE + shift, policy="balanced", cap=6, pool=pool),
            make_runs(NOISE, policy="frugal", cap=3, pool=pool),
        ]
    )


def test_the_shipped_searches_are_shown_by_pool_with_mean_and_spread():
    """Pools that do not count in the mean are below it."""
    rows = shipped("one", 1) + shipped("apart", -1) + shipped("two", 3)
    means = averages(rows, ["one", "two"])
    head, *body = cells(by_pool_table(rows, means))
    assert [line[0] for line in body] == [
        "one",
        "two",
        "**mean of these 2**",
        "standard deviation between them",
        "apart",
    ]
    column = head.index("balanced less classic_uct at 11")
    assert [line[column].split(" ")[0] for line in body] == [
        "+10.0",
        "+30.0",
        "+20.0",
        "14",
        "-10.0",
    ]
    assert "balanced 6" in head
    assert by_pool_table(rows, []) == ""


def test_means_over_pools_are_shown_by_policy_and_cap():
    """Shares, differences, requests and rounds."""
    rows = shipped("one", 1) + shipped("two", 3)
    found = tables(mean_tables(averages(rows, ["one", "two"])))
    assert list(found) == [
        "share of the gap, %",
        "less classic_uct at 11",
        "less packed best-of-N",
        "less treequest at 11",
        "requests; rounds",
    ]
    balanced = {line[0]: line for line in found["less packed best-of-N"]}["balanced"]
    assert balanced[4].startswith("+20.0 (")


def test_a_biased_judge_is_shown_from_the_smallest_cap_to_the_largest():
    """With the paired change between them."""
    rows = compare(
        [
            make_runs(NOISE + (16 - cap) / 10, policy="listwise, 32 per request", cap=cap)
            for cap in (2, 6, 16)
        ]
    )
    head, line = cells(bias_table(rows))
    assert head[-1] == "last less first"
    assert line[0] == "a pool: listwise, 32 per request"
    assert line[-1] == "-14.0 (-14.0 to -14.0)"


def test_a_grid_has_a_line_a_setting_and_marks_what_differs():
    """Better than the classic search at 11 is +, worse is -."""
    rows = []
    for pool in ("simulated: one", "simulated: two"):
        shift = 1 if pool.endswith("one") else -1
        rows += compare([baseline(NOISE, pool=pool), make_runs(NOISE + shift, pool=pool)])
    head, first, second = cells(grid_table(rows))
    assert head == ["setting", "classic_uct 11", "listwise 6"]
    assert (first[0], second[0]) == ("one", "two")
    assert (first[2][-1], second[2][-1]) == ("+", "-")
    assert ("listwise", 6) in GRID_COLUMNS


def test_savings_are_shown_by_pool_with_their_mean():
    """Each with the requests that the fixed plan would need."""
    *curve, plan = compare(
        [
            *(make_runs(NOISE + cap, cap=cap) for cap in (2, 4)),
            make_runs(NOISE + 3, policy="thorough", cap=16),
        ]
    )
    _, line, mean = cells(saving_table([saving_of(curve, plan)]))
    assert line[:2] == ["thorough 16", "a pool"]
    assert line[4] == "3.00"
    assert line[5].startswith("-433 (")
    assert mean[1] == "**mean**"


def test_confidence_is_shown_with_the_truth_and_the_runs_of_each_bin():
    """Empty bins are empty."""
    bins = [Bin("a pool", 0.9, 0.95, 40, 0.92, 0.5), Bin("a pool", 0.0, 0.5, 0, math.nan, math.nan)]
    head, line = cells(confidence_table(bins))
    assert line[head.index("0.9 to 0.95")] == "0.92 / 0.50 (40)"
    assert line[head.index("0 to 0.5")] == ""


def test_overhead_is_held_against_its_target_where_there_is_one():
    """Peers have none, and neither have sizes that nothing was promised for."""
    costs = [
        StepCost("posterior_uct", 100, 49.6, 25.0, 1.2, is_ours=True),
        StepCost("halving", 1000, 120.0, 60.0, None, is_ours=True),
        StepCost("treequest StandardMCTS", 100, 36.0, 36.0, 1.0, is_ours=False),
        StepCost("listwise", 20, 500.0, 60.0, None, is_ours=True),
    ]
    _, *body = cells(overhead_table(costs))
    assert [line[-2:] for line in body] == [
        ["<= 50", "yes"],
        ["<= 100", "**no**"],
        ["", ""],
        ["", ""],
    ]


def test_the_trust_table_says_how_far_off_the_simulator_is():
    """It has the given figures, listwise at three caps, and the mean distance over all."""
    rows = [
        TrustRow("a pool", "listwise", 3, 0.5, 0.4, 0.6, 0.55),
        TrustRow("a pool", "classic_uct", 11, 0.5, 0.4, 0.6, 0.75),
    ]
    figures = {"a pool": JudgeFigures(0.5, 0.6, 0.1, 6), "bare": JudgeFigures(0.1, 0.2, 0, 4)}
    _, first, second = cells(trust_table(figures, rows))
    assert first[1:6] == ["0.50", "0.60", "10%", "6", "0.50 / 0.55"]
    assert first[-2:] == ["0.15", "1 of 2"]
    assert second[-2:] == ["", ""]
