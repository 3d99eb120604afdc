"""Tables: every figure in its place, and nothing shown that is not reported."""

import pytest

from benchmarks.search.calibrated import JudgeFigures, TrustRow
from benchmarks.search.comparing import compare
from benchmarks.search.overhead import StepCost
from benchmarks.search.saving import savings
from benchmarks.search.table import (
    GRID_COLUMNS,
    grid_table,
    overhead_table,
    pool_table,
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


def test_a_pools_table_holds_policy_cap_figures_and_verdict():
    """A line a policy and cap, the baseline among them."""
    rows = compare([baseline(NOISE), make_runs(NOISE + 1), make_runs(NOISE, cap=7)])
    table = pool_table(rows)
    head, *body = cells(table)
    assert table.startswith("40 prompts; random 0.000, oracle 10.000.")
    assert [line[:3] for line in body] == [
        ["classic_uct", "11", "11.00"],
        ["listwise", "6", "6.00"],
    ]
    assert body[1][-2:] == ["+10.0%", "**better**"]
    assert body[1][7].startswith("+1.000 (+1.000 to +1.000)")
    assert head[-1] == "verdict"


def test_what_is_not_reported_has_no_quality():
    """Its requests and its misses are told, and nothing that might be quoted."""
    rows = compare([baseline(NOISE), make_runs(NOISE + 1, misses=0.5)])
    line = cells(pool_table(rows))[2]
    assert line[6:] == ["", "", "", "not reported: 50% misses"]


def test_a_table_is_of_one_pool():
    """Truths of two pools have two units."""
    rows = [*compare([make_runs(NOISE)]), *compare([make_runs(NOISE, pool="another")])]
    with pytest.raises(ValueError, match="one pool"):
        pool_table(rows)


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


def test_savings_stand_below_the_fixed_plan():
    """Each with the calls that the fixed plan would need."""
    fixed = [make_runs(NOISE + cap, cap=cap) for cap in (2, 4)]
    adaptive = make_runs(NOISE + 3, policy="auto, min_gain 0.1", cap=10, min_gain=0.1)
    _, *body = cells(saving_table(*savings(fixed, [adaptive])))
    assert [line[0] for line in body] == ["listwise, fixed", "listwise, fixed", "auto"]
    assert body[2][2] == "0.1"
    assert body[2][5] == "3.00"


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
