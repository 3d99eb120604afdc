"""A reply that came without a search: no search, no further call, bubbles all the same."""

from pathlib import Path
from typing import Any

import pytest

from graph.app import app
from graph.engine import TurnContext
from graph.state import TurnState
from graph.steps import NO_SEARCH, STEPS, _summary_of_no_search
from nodes.bubbles import split_bubbles
from nodes.prompt import prompt
from nodes.records import Mood, StyleVector

STYLE, MOOD = StyleVector(formality=0.9), Mood(busyness=0.8)


async def test_an_instant_turn_is_two_calls(answer: Any, count_by: Any, texts: Any) -> None:
    """One that replies, one for the bookkeeping; one round to the reply."""
    for turn in await answer(preset="instant", texts=texts):
        assert count_by(turn.rows, "node") == {"detection": 1, "evolver": 1}
        assert count_by(turn.rows, "role") == {"main": 1, "fast": 1}
        assert turn.record["rounds"] == {"reply": 1, "turn": 2}
        assert turn.record["search"] == _summary_of_no_search()
        assert turn.record["bubbles"]
        assert not turn.record["is_fallback"]
        assert not turn.record["degraded"]


async def test_the_summary_has_the_shape_of_a_searchs(answer: Any) -> None:
    """Every reader of a search's summary knows all of its fields."""
    (turn,) = await answer("search.rollouts=1")
    assert _summary_of_no_search().keys() <= turn.record["search"].keys()
    assert _summary_of_no_search()["stop_reason"] == NO_SEARCH


async def test_a_processor_that_always_asks_asks_here_too(answer: Any) -> None:
    """Bubbles are cut by rule and buy no call, unless the processor is told to."""
    (always,) = await answer("processor.llm=always", preset="instant")
    assert always.record["asked"] == 3


async def test_an_instant_turn_asks_for_a_thought_and_a_reply(answer_spoiled: Any) -> None:
    """What its reply does not need is found by rule, or is not there."""
    seen: list[set[str]] = []

    def look(fused: dict[str, Any]) -> dict[str, Any]:
        seen.append(set(fused))
        return fused

    (turn,) = await answer_spoiled(look)
    assert seen == [{"thought", "reply"}, {"movement", "memory"}]
    assert not turn.record["degraded"]


@pytest.mark.parametrize("text", ["Not far. Ten minutes.", "好。", "x" * 900])
async def test_without_bubbles_the_rules_cut(text: str, tmp_path: Path) -> None:
    """Every reply has at least one."""
    state = TurnState(draft=text, style=STYLE, mood=MOOD, answered=["lats_search"])
    async with app.open(app.settings("instant"), folder=tmp_path) as session:
        update = await STEPS["lats_search"](state, TurnContext(session.engine))
    assert update["planned_bubbles"] == split_bubbles(text, style=STYLE, mood=MOOD) != ()


async def test_a_reply_that_quotes_the_fused_prompt_is_mended(answer_spoiled: Any) -> None:
    """Its sentences do not reach the user."""
    quoted = "Use memories only where they fit; invent no facts about the user"
    assert quoted in prompt("fused_reply", "en")

    def spoil(fused: dict[str, Any]) -> dict[str, Any]:
        if "reply" in fused:
            fused["reply"] = f"Good to see you. {quoted}. See you soon."
        return fused

    (turn,) = await answer_spoiled(spoil)
    assert quoted not in turn.record["reply"]
    assert "prompt_leak" in turn.record["violations"]


async def test_a_memory_of_the_last_talk_is_in_the_prompt(answer: Any, tmp_path: Any) -> None:
    """Retrieval runs before the call that replies."""
    folder = tmp_path / "memory"
    run = {"preset": "instant", "folder": folder, "user_id": "ann"}
    await answer(texts=["My cat is ill."], conversation_id="first", **run)
    (turn,) = await answer(texts=["How is my cat?"], conversation_id="second", **run)
    (stranger,) = await answer(texts=["How is my cat?"], preset="instant")
    sizes = [
        next(row["input_tokens"] for row in each.rows if row["node"] == "detection")
        for each in (turn, stranger)
    ]
    assert sizes[0] > sizes[1]
