"""The steps after the reply: each for itself, or one for both, and what falls back."""

from typing import Any

import pytest

from callwise.calls.errors import ServerFailed

NODES = ("evolver", "memory_manager")
NO_RETRIES = "retry.server_failed_attempts=1"


def _has_memory(answer: dict[str, Any]) -> bool:
    return "memory" in answer


@pytest.mark.parametrize("overlap", ["false", "true"])
async def test_one_call_does_all_the_bookkeeping(
    answer: Any, count_by: Any, gates_shut: Any, overlap: str
) -> None:
    """One call less than apart; overlapped it takes no round more, and notes are kept."""
    (apart,) = await answer(*gates_shut, f"overlap={overlap}")
    (turn,) = await answer(*gates_shut, f"overlap={overlap}", "fuse.bookkeeping=true")
    asked = count_by(turn.rows, "node")
    assert asked["evolver"] == 1
    assert "memory_manager" not in asked
    assert turn.record["asked"] == apart.record["asked"] - 1
    assert turn.record["rounds"]["turn"] == turn.record["rounds"]["reply"] + 1
    assert turn.record["notes"] + turn.record["dropped_notes"] > 0
    assert not turn.record["degraded"]


@pytest.mark.parametrize(("part", "node"), [("movement", "evolver"), ("memory", "memory_manager")])
@pytest.mark.parametrize("overlap", ["false", "true"])
async def test_a_part_without_use_is_asked_by_its_own_node(
    answer_spoiled: Any, count_by: Any, part: str, node: str, overlap: str
) -> None:
    """Only that part, by one call more."""
    (turn,) = await answer_spoiled(
        lambda fused: {**fused, part: "?"} if _has_memory(fused) else fused, f"overlap={overlap}"
    )
    asked = count_by(turn.rows, "node")
    assert {name: asked.get(name, 0) for name in NODES} == {
        "evolver": 1 + (node == "evolver"),
        "memory_manager": int(node == "memory_manager"),
    }
    assert [(row["node"], row["reason"]) for row in turn.record["degraded"]] == [(node, "invalid")]


@pytest.mark.parametrize(
    ("broken", "reason", "fused_calls"),
    [("no books", "invalid", 2), (ServerFailed("down", status=503), "failed", 1)],
)
async def test_without_an_answer_both_ask_for_themselves(
    answer_spoiled: Any, count_by: Any, broken: Any, reason: str, fused_calls: int
) -> None:
    """And the bookkeeping is done all the same."""
    (turn,) = await answer_spoiled(
        lambda fused: broken if _has_memory(fused) else fused, NO_RETRIES
    )
    assert count_by(turn.rows, "purpose") == {
        "fuse": 1 + fused_calls,
        "evolve": 1,
        "remember": 1,
    }
    assert [(row["node"], row["reason"]) for row in turn.record["degraded"]] == [
        ("evolver", reason)
    ]
    assert turn.record["notes"] + turn.record["dropped_notes"] > 0


async def test_one_held_call_is_enough_for_both(answer: Any) -> None:
    """With so few calls that the search takes all it may, the bookkeeping is still done."""
    for max_calls in (4, 5, 8):
        overrides = (f"budget.turn.max_calls={max_calls}", "fuse.thinking=true")
        (turn,) = await answer(*overrides, "fuse.bookkeeping=true")
        assert turn.record["outcomes"]["refused"] == 0
        assert turn.record["asked"] <= max_calls
        assert "evolver" in {row["node"] for row in turn.rows}
