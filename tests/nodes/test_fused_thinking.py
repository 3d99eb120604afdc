"""Fused thinking: three nodes' answers in one call, or one call that replies."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.calls import Purpose, Role
from callwise.calls.structured import parse_answer
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedModel
from callwise.testing.fakes import ScriptedLLM
from nodes.detection import DetectionAnswer, detect_by_rules
from nodes.fused_calls import (
    FUSED_REPLY,
    FUSED_THINKING,
    ReplyingAnswer,
    ThinkingAnswer,
    ask_fused,
)
from nodes.inner_monologue import MonologueAnswer
from nodes.prompt import prompt
from nodes.reasoner import ReasonerAnswer
from nodes.records import (
    Detection,
    DialogueLine,
    MemoryLine,
    Mode,
    Mood,
    Persona,
    Relationship,
    ResponsePlan,
    Signal,
)
from nodes.search.action_calls import REPLY_LEASE
from nodes.style import choose_style
from nodes.turn import TurnView, phrase_of

VIEW = TurnView(
    language="en",
    user_text="Is it far?",
    history=[DialogueLine(role="user", text="Hi.")],
    persona=Persona(name="Lin"),
    relationship=Relationship(),
    summary="They met.",
    mood=Mood(busyness=0.7),
    mode=Mode.GUARDED,
    memories=[MemoryLine(turn=1, user="She walks a lot.")],
)
DETECTION = {"signals": ["question"], "sentiment": 0.1, "hostility": 0}
MONOLOGUE = {"thought": "Again?", "feeling": "calm"}
PLAN = {"goals": ["Say how far it is"]}
WHOLE = {"detection": DETECTION, "monologue": MONOLOGUE, "plan": PLAN}
REPLY = {"thought": "Again?", "reply": "Not far. Ten minutes."}


async def test_one_main_call_thinks_for_three():
    """The parts become the records of the three nodes; the call has no lease."""
    llm = ScriptedLLM({Purpose.FUSE: WHOLE})
    found, degradations = await ask_fused(llm, FUSED_THINKING, VIEW)
    assert found["detection"].signals == (Signal.QUESTION,)
    assert found["inner_monologue"].thought == "Again?"
    assert found["reasoner"] == ResponsePlan(goals=("Say how far it is",))
    assert "lats_search" not in found
    assert not degradations
    (call,) = llm.calls
    assert (call.role, call.purpose, call.lease) == (Role.MAIN, Purpose.FUSE, None)
    fields = json.loads(call.messages[-1].content)
    assert (fields["mode"], fields["mood"]) == ("guarded", "busy")
    assert not fields.keys() & {"memories", "task"}


async def test_the_call_that_replies_sees_memories_and_style_and_draws_on_the_lease():
    """It is the call that the reply must have."""
    llm = ScriptedLLM({Purpose.FUSE: REPLY})
    found, _ = await ask_fused(llm, FUSED_REPLY, VIEW)
    assert found["lats_search"] == "Not far. Ten minutes."
    (call,) = llm.calls
    assert (call.role, call.purpose, call.lease) == (Role.MAIN, Purpose.FUSE, REPLY_LEASE)
    fields = json.loads(call.messages[-1].content)
    assert fields["memories"] == [{"user": "She walks a lot."}]
    style = choose_style(VIEW.relationship, VIEW.mood, VIEW.mode, Detection())
    assert fields["task"]["style"] == phrase_of("style", style, "en") != ""


async def test_a_reply_asks_for_nothing_that_rules_can_find():
    """Detection and feeling come by rule, the thought from the model, and there is no plan."""
    found, _ = await ask_fused(ScriptedLLM({Purpose.FUSE: REPLY}), FUSED_REPLY, VIEW)
    assert found["detection"] == detect_by_rules(VIEW.user_text, "en")
    assert found["inner_monologue"].thought == "Again?"
    assert found["inner_monologue"].feeling
    assert found["reasoner"] == ResponsePlan()
    assert set(ReplyingAnswer.model_fields) == {"thought", "reply"}


async def test_without_a_usable_reply_all_is_asked_apart():
    """A blank reply is no answer: every node asks for itself and the search runs."""
    llm = ScriptedLLM({Purpose.FUSE: {"reply": " "}})
    found, (row,) = await ask_fused(llm, FUSED_REPLY, VIEW)
    assert found == {}
    assert (row.node, row.reason) == ("detection", "invalid")


@pytest.mark.parametrize("gone", ["detection", "monologue", "plan"])
async def test_a_part_without_use_is_left_to_its_node(gone):
    """The others are used, and the degradation names the node that will ask."""
    llm = ScriptedLLM({Purpose.FUSE: {**WHOLE, gone: {"thought": 7, "tone": "dry"}}})
    found, (row,) = await ask_fused(llm, FUSED_THINKING, VIEW)
    nodes = {"detection": "detection", "monologue": "inner_monologue", "plan": "reasoner"}
    assert row.node == nodes[gone]
    assert {*found, row.node} == set(nodes.values())


@given(st.text(st.characters(), max_size=300))
def test_a_reply_is_never_blank_and_always_sendable(reply):
    """Control characters and lone surrogates are gone, or the answer is refused."""
    try:
        answer = ReplyingAnswer.model_validate({"thought": reply, "reply": reply})
    except ValidationError:
        return
    assert answer.reply.strip()
    answer.reply.encode()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("name", "answer"), [("fused_thinking", ThinkingAnswer), ("fused_reply", ReplyingAnswer)]
)
def test_each_prompt_names_every_part_and_field(name, answer, language):
    """A field that the prompt does not explain is a field that the model guesses."""
    text = prompt(name, language)
    parts = [DetectionAnswer, MonologueAnswer, ReasonerAnswer]
    for model in (answer, *(parts if answer is ThinkingAnswer else ())):
        for field in model.model_fields:
            assert re.search(rf"(?<!\w){field}(?!\w)", text)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("writes_reply", [False, True])
def test_the_simulated_model_fills_every_part(language, writes_reply):
    """Nested answers get the content that the separate calls get."""
    user_text = "我今天丢了工作。" if language == "zh" else "I lost my job today."
    view = TurnView(language=language, user_text=user_text, persona=Persona(name="Lin"))
    call = (FUSED_REPLY if writes_reply else FUSED_THINKING).call(view)
    model = SimulatedModel(seed=3)
    for sample in range(20):
        text = model.answer(chat_body(call, model="simulated"), sample).text
        answer = parse_answer(text, call.response_model)
        if writes_reply:
            assert answer.thought
            assert model.true_quality(answer.reply) != 0
            continue
        assert isinstance(answer.detection, DetectionAnswer)
        assert isinstance(answer.monologue, MonologueAnswer)
        assert isinstance(answer.plan, ReasonerAnswer)
        assert answer.plan.goals
