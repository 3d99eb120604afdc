"""Calls by node as data."""

import pytest

from callwise.calls.call import Outcome
from callwise.report.run_record import CallLine, TurnLine
from callwise.tuning.figures import calls_by_node_of, calls_over_turns_of
from callwise.tuning.figures.palette import NO_NODE
from callwise.tuning.figures.whisker import Whisker


def test_parts_are_means_a_turn_and_sum_to_the_whole(row) -> None:
    """Calls that no node asked have a part of their own."""
    rows = [row("a", 0, asked=5, asked_by_node={"x": 4}),
            row("a", 1, asked=3, asked_by_node={"x": 2, "": 1})]  # fmt: skip
    found = calls_by_node_of(rows)
    assert found.nodes == ("x", NO_NODE)
    assert found.bars[0].mean_by_node == (3.0, 1.0)
    assert found.bars[0].total == Whisker(4.0)


def test_nodes_are_in_the_apps_order_then_by_name(row) -> None:
    """The order does not depend on which row came first."""
    rows = [row("a", asked_by_node={"z": 1, "b": 1, "y": 1}),
            row("b", asked_by_node={"c": 1, "y": 2})]  # fmt: skip
    assert calls_by_node_of(rows, nodes=("y", "b", "unused")).nodes == ("y", "b", "c", "z")
    assert calls_by_node_of(rows[::-1]).nodes == ("b", "c", "y", "z")


def test_what_is_not_recorded_is_a_share_of_the_whole(row) -> None:
    """It is never more than was asked, and is drawn only where there is some."""
    rows = [row("a", 0, missing_calls=2), row("a", 1, missing_calls=9), row("b", 0)]
    found = calls_by_node_of(rows, totals={"a": (3.0, 2.5, 3.5)})
    assert [bar.missing for bar in found.bars] == [2.5, 0.0]
    assert found.has_missing
    assert "Dashed" in found.caption
    assert found.bars[0].total == Whisker(3.0, 2.5, 3.5)
    assert "Dashed" not in calls_by_node_of(rows[2:]).caption


def test_a_row_that_does_not_add_up_is_named(row) -> None:
    """More calls by node than in all is a broken row."""
    with pytest.raises(ValueError, match=r"'a', turn 7 of 'one': 4 calls by node, and 3 in all"):
        calls_by_node_of([row("a", 7, asked_by_node={"x": 4})])


def test_no_rows_have_no_bars() -> None:
    """An empty sweep is no error."""
    assert calls_by_node_of([]).bars == ()


def _call(turn: int | None, node: str | None, conversation: str = "one") -> CallLine:
    return CallLine(conversation=conversation, turn=turn, node=node, role="main",
                    purpose="expand", outcome="served")  # fmt: skip


def test_calls_are_counted_by_turn_and_node() -> None:
    """Other conversations and calls outside of turns are passed over; empty turns stay."""
    calls = [_call(1, "x"), _call(1, "x"), _call(3, None), _call(1, "x", "two"), _call(None, "x")]
    turns = [TurnLine(conversation_id="one", turn=turn, simulated=True) for turn in (3, 2, 1)]
    found = calls_over_turns_of(calls, turns, "one")
    assert (found.turns, found.nodes) == ((1, 2, 3), ("x", NO_NODE))
    assert found.asked == ((2, 0), (0, 0), (0, 1))
    refused = _call(2, "x").model_copy(update={"outcome": Outcome.REFUSED})
    assert calls_over_turns_of([*calls, refused], turns, "one") == found
    assert found.caption.startswith("3 calls asked in 3 turns of 1 conversation. Simulated")


def test_a_conversation_that_is_not_there_is_named() -> None:
    """A slip in an id is no empty figure."""
    with pytest.raises(ValueError, match=r"no turn of 'two'"):
        calls_over_turns_of([], [TurnLine(conversation_id="one", turn=0)], "two")
