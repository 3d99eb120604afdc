"""Overhead: what is timed, not how long it takes."""

import pytest

from benchmarks.search.overhead import REFERENCE, StepCost, engines, measure_overhead


def test_every_search_is_grown_to_every_size():
    """Ours and, where it is installed, treequest's; no time is asserted."""
    rows = measure_overhead(turns=1, sizes=(20,))
    assert {(row.engine, row.nodes) for row in rows[1:]} == {(name, 20) for name in engines(20)}
    assert all(row.step_microseconds > 0 and row.node_microseconds > 0 for row in rows)
    assert rows[0].engine.startswith("listwise")


def test_ratios_are_to_treequests_plain_search():
    """Its own is 1."""
    pytest.importorskip("treequest")
    rows = {row.engine: row for row in measure_overhead(turns=1, sizes=(30,))[1:]}
    assert rows[REFERENCE].ratio == 1
    assert not rows[REFERENCE].is_ours


@pytest.mark.parametrize(("nodes", "is_met"), [(100, True), (1000, True), (50, None)])
def test_a_target_belongs_to_its_size(nodes, is_met):
    """And to our own searches only."""
    assert StepCost("auto", nodes, 50.0, 1.0, None, is_ours=True).is_met is is_met
    assert StepCost("peer", nodes, 50.0, 1.0, None, is_ours=False).is_met is None
