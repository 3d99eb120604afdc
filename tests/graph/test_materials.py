"""Material of the calls that can bring a reply."""

import json
from typing import Any

import orjson
import pytest

from graph.state import TurnState
from graph.steps import QUESTIONS
from nodes.fused_calls import FUSED_BOOKKEEPING, FUSED_REPLY, FUSED_THINKING
from nodes.question import Question
from nodes.records import Detection, MemoryLine, Mode, Mood, Relationship, ResponsePlan, Stage
from nodes.search.action_calls import SearchMaterial, writing_fields
from nodes.style import choose_style
from nodes.turn import phrase_of

STATE = TurnState(
    user_text="Is it far?",
    summary="They met.",
    memories=[MemoryLine(turn=1, user="She walks a lot.")],
    relationship=Relationship(stage=Stage.BONDING),
    mood=Mood(busyness=0.7),
    mode=Mode.GUARDED,
    plan=ResponsePlan(goals=("Say how far it is",)),
)


def test_the_search_sees_plan_memories_and_stage() -> None:
    """All that is in the state before it."""
    fields = writing_fields(SearchMaterial(STATE))
    assert orjson.loads(orjson.dumps(fields["task"]["plan"]))["goals"] == ["Say how far it is"]
    assert (fields["stage"], fields["mode"]) == (Stage.BONDING, Mode.GUARDED)
    assert orjson.loads(orjson.dumps(fields["memories"])) == [{"user": "She walks a lot."}]


def test_fused_calls_see_mood_and_mode_as_they_were() -> None:
    """And the one that replies the style that follows from them, before anything is detected."""
    for question in (FUSED_THINKING, FUSED_REPLY):
        shown = json.loads(question.call(STATE).messages[1].content)
        assert (shown["mood"], shown["mode"]) == (phrase_of("mood", STATE.mood, "en"), "guarded")
    style = choose_style(STATE.relationship, STATE.mood, Mode.GUARDED, Detection())
    assert shown["task"]["style"] == phrase_of("style", style, "en")


@pytest.mark.parametrize("fused", [FUSED_THINKING, FUSED_REPLY, FUSED_BOOKKEEPING])
def test_a_fused_prompt_shows_the_fields_of_the_questions_it_speaks_for(
    fused: Question[Any, Any],
) -> None:
    """Without those that the fused call answers: so a new field of a node is in every preset."""
    parts = [each for each in QUESTIONS if each.node in fused.speaks_for and not each.speaks_for]
    shown = {name for part in parts for name in part.fields}
    answered = {"evolver": set(), "detection": {"detection", "monologue"}}[fused.node]
    assert shown - answered <= set(fused.fields)
    assert len(parts) >= 2


def test_the_call_that_replies_shows_what_the_search_shows_a_writer() -> None:
    """Without plan and thoughts, which it has not got: see `fields` of `FUSED_REPLY`."""
    shown = writing_fields(SearchMaterial(STATE)).keys()
    assert shown - {"task", "monologue"} <= set(FUSED_REPLY.fields)


def test_memories_are_for_the_reply() -> None:
    """Without a reply to write they are retrieved during the call, and may not be there yet."""
    assert "memories" not in FUSED_THINKING.fields
    shown = json.loads(FUSED_REPLY.call(STATE).messages[1].content)
    assert shown["memories"] == [{"user": "She walks a lot."}]
