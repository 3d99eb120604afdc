"""The steps before the search: each for itself, or one for all, and what falls back."""

from collections.abc import Callable
from typing import Any

import pytest

from callwise.calls.errors import AuthFailed, ContentRefused, ServerFailed

PARTS = {"detection": "detection", "monologue": "inner_monologue", "plan": "reasoner"}
THINKING = ("detection", "inner_monologue", "reasoner")
NO_RETRIES = "retry.server_failed_attempts=1"


def _without(*parts: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answer: {name: part for name, part in answer.items() if name not in parts}


def _is_thinking(answer: dict[str, Any]) -> bool:
    """Return whether an answer is to the call before the search, or instead of it."""
    return "detection" in answer or "reply" in answer


async def test_one_call_answers_for_three_nodes(
    answer: Any, count_by: Any, gates_shut: Any
) -> None:
    """Two calls and two rounds less than apart, and nothing is degraded."""
    (turn,) = await answer(*gates_shut, "fuse.thinking=true")
    asked = count_by(turn.rows, "node")
    assert asked["detection"] == 1
    assert not asked.keys() & {"inner_monologue", "reasoner"}
    assert turn.record["asked"] == 14
    assert turn.record["rounds"] == {"reply": 12, "turn": 14}
    assert not turn.record["degraded"]


async def test_the_notes_reach_the_prompts_after_them(answer: Any, gates_shut: Any) -> None:
    """The search's prompts are about as long as with separate calls: the notes are in them."""

    def plan_tokens(turn: Any) -> int:
        return next(row["input_tokens"] for row in turn.rows if row["purpose"] == "plan")

    (apart,) = await answer(*gates_shut)
    (fused,) = await answer(*gates_shut, "fuse.thinking=true")
    assert plan_tokens(fused) == pytest.approx(plan_tokens(apart), rel=0.05)


@pytest.mark.parametrize("part", PARTS)
async def test_a_part_without_use_is_asked_by_its_own_node(
    answer_spoiled: Any, count_by: Any, part: str
) -> None:
    """Only that part; the record names the node, and the turn has one call more."""
    (turn,) = await answer_spoiled(
        lambda fused: _without(part)(fused) if _is_thinking(fused) else fused, preset="balanced"
    )
    asked = count_by(turn.rows, "node")
    assert [(row["node"], row["reason"]) for row in turn.record["degraded"]] == [
        (PARTS[part], "invalid")
    ]
    others = set(PARTS.values()) - {PARTS[part], "detection"}
    assert not asked.keys() & others
    assert turn.record["asked"] == 9
    assert not turn.record["is_fallback"]


@pytest.mark.parametrize("reply", [True, False])
@pytest.mark.parametrize(
    ("change", "reason", "fused_calls"),
    [
        (lambda _: "I would rather not.", "invalid", 2),
        (lambda _: ServerFailed("down", status=503), "failed", 1),
        (lambda _: ContentRefused("no"), "invalid", 1),
    ],
)
async def test_without_an_answer_all_ask_for_themselves(  # noqa: PLR0917 - fixtures
    answer_spoiled: Any,
    count_by: Any,
    change: Any,
    reason: str,
    fused_calls: int,
    reply: bool,
) -> None:
    """After its repairs, or without any where none would help; then as if nothing were fused."""
    (turn,) = await answer_spoiled(
        lambda fused: change(fused) if _is_thinking(fused) else fused,
        NO_RETRIES,
        f"fuse.reply={str(reply).lower()}",
    )
    asked = count_by(turn.rows, "node")
    assert asked["detection"] == fused_calls + 1
    assert asked["inner_monologue"] == asked["reasoner"] == 1
    assert asked["lats_search"] > 1
    (row,) = turn.record["degraded"]
    assert (row["node"], row["reason"]) == ("detection", reason)
    assert not turn.record["is_fallback"]


async def test_a_fatal_error_ends_the_run(answer_spoiled: Any) -> None:
    """A wrong key is wrong for the separate calls too."""
    with pytest.raises(AuthFailed):
        await answer_spoiled(lambda _: AuthFailed("who are you", status=401))


@pytest.mark.parametrize("max_calls", [2, 3, 4, 6])
async def test_a_failed_fused_reply_leaves_a_call_for_the_search(
    answer_spoiled: Any, max_calls: int
) -> None:
    """The bookkeeping and the notes give way: what is left finds a reply."""
    (turn,) = await answer_spoiled(
        lambda fused: "no" if _is_thinking(fused) else fused,
        f"budget.turn.max_calls={max_calls}",
        "repair.max_repairs=0",
    )
    assert not turn.record["is_fallback"]
    assert sum(row["outcome"] != "refused" for row in turn.rows) <= max_calls


async def test_the_next_turn_starts_from_nothing(answer_spoiled: Any, texts: Any) -> None:
    """What one turn's fused answer lacked says nothing about the next turn's."""
    seen = 0

    def once(fused: dict[str, Any]) -> dict[str, Any]:
        nonlocal seen
        seen += _is_thinking(fused)
        return _without("plan")(fused) if seen == 1 else fused

    first, second, third = await answer_spoiled(once, texts=texts, preset="balanced")
    assert (first.record["asked"], second.record["asked"], third.record["asked"]) == (9, 8, 8)
    assert [bool(turn.record["degraded"]) for turn in (first, second, third)] == [
        True,
        False,
        False,
    ]
