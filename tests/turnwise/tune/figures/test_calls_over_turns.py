"""Calls over the turns of a conversation as data."""

import pytest

from turnwise.report.run_record import CallLine, TurnLine
from turnwise.tune.figures import calls_over_turns_of
from turnwise.tune.figures.palette import NO_NODE


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
    assert found.caption.startswith("3 calls asked in 3 turns of 1 conversation. Simulated")


def test_a_conversation_that_is_not_there_is_named() -> None:
    """A slip in an id is no empty figure."""
    with pytest.raises(ValueError, match=r"no turn of 'two'"):
        calls_over_turns_of([], [TurnLine(conversation_id="one", turn=0)], "two")
