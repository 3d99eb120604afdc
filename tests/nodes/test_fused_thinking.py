"""Fused thinking: three nodes' answers, and the reply if wanted, in one call."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.bubbles import MAX_BUBBLES
from nodes.detection import DetectionAnswer
from nodes.fused_thinking import (
    ReplyAnswer,
    ReplyingAnswer,
    ThinkingAnswer,
    ThinkingMaterial,
    think_at_once,
    thinking_call,
)
from nodes.inner_monologue import MonologueAnswer
from nodes.prompt import prompt
from nodes.reasoner import ReasonerAnswer
from nodes.records import (
    Line,
    MemoryLine,
    Mode,
    Mood,
    Persona,
    Relationship,
    ResponsePlan,
    Signal,
    StyleVector,
)
from nodes.search_calls import REPLY_LEASE
from turnwise.calls import Purpose, Role
from turnwise.calls.simulated import SimulatedModel
from turnwise.calls.structured import parse_answer
from turnwise.calls.wire import chat_body
from turnwise.testing.askers import ScriptedAsker

MATERIAL = ThinkingMaterial(
    language="en",
    user_text="Is it far?",
    history=[Line(role="user", text="Hi.")],
    persona=Persona(name="Lin"),
    relationship=Relationship(),
    summary="They met.",
    mood=Mood(busyness=0.7),
    mode=Mode.GUARDED,
    memories=[MemoryLine(text="She walks a lot.", kind="fact", turn=1)],
    style=StyleVector(formality=0.9),
)
DETECTION = {"signals": ["question"], "sentiment": 0.1, "hostility": 0}
MONOLOGUE = {"thought": "Again?", "feeling": "calm"}
PLAN = {"goals": ["Say how far it is"]}
MESSAGE = {"reply": "Not far. Ten minutes.", "bubbles": ["Not far.", "Ten minutes."]}
WHOLE = {"detection": DETECTION, "monologue": MONOLOGUE, "plan": PLAN, "message": MESSAGE}


async def test_one_main_call_thinks_for_three():
    """The parts become the records of the three nodes; the call has no lease."""
    asker = ScriptedAsker({Purpose.FUSE: WHOLE})
    thoughts = await think_at_once(asker, MATERIAL)
    assert thoughts.detection.signals == (Signal.QUESTION,)
    assert thoughts.monologue.thought == "Again?"
    assert thoughts.plan == ResponsePlan(goals=("Say how far it is",))
    assert thoughts.reply is None
    assert not thoughts.degradations
    (call,) = asker.calls
    assert (call.role, call.purpose, call.lease) == (Role.MAIN, Purpose.FUSE, None)
    fields = json.loads(call.messages[-1].content)
    assert (fields["mode"], fields["mood"]["busyness"]) == ("guarded", 0.7)
    assert not fields.keys() & {"memories", "style"}


async def test_the_call_that_replies_sees_memories_and_style_and_draws_on_the_lease():
    """It is the call that the reply must have."""
    asker = ScriptedAsker({Purpose.FUSE: WHOLE})
    thoughts = await think_at_once(asker, MATERIAL, writes_reply=True)
    assert thoughts.reply.reply == "Not far. Ten minutes."
    assert thoughts.reply.usable_bubbles == ("Not far.", "Ten minutes.")
    (call,) = asker.calls
    assert call.lease == REPLY_LEASE
    fields = json.loads(call.messages[-1].content)
    assert fields["memories"][0]["text"] == "She walks a lot."
    assert fields["style"]["formality"] == 0.9


@pytest.mark.parametrize("gone", ["detection", "monologue", "plan", "message"])
async def test_a_part_without_use_is_left_to_its_node(gone):
    """The others stand, and the degradation names who will ask."""
    asker = ScriptedAsker({Purpose.FUSE: {**WHOLE, gone: {"thought": 7, "goals": []}}})
    thoughts = await think_at_once(asker, MATERIAL, writes_reply=True)
    parts = (thoughts.detection, thoughts.monologue, thoughts.plan, thoughts.reply)
    assert sum(found is None for found in parts) == 1
    (row,) = thoughts.degradations
    nodes = {"monologue": "inner_monologue", "plan": "reasoner", "message": "lats_search"}
    assert row.node == nodes.get(gone, gone)


@pytest.mark.parametrize(
    "bubbles",
    [
        None,
        "Not far.",
        [],
        ["Not far."],
        ["Something else."],
        ["Not", "far.", "Ten", "min", "utes."],
        7,
    ],
)
def test_bubbles_that_do_not_say_the_reply_are_left_to_the_rules(bubbles):
    """Too few words, other words, or too many pieces: the reply stands without them."""
    document = {"reply": "Not far. Ten minutes.", "bubbles": bubbles}
    answer = parse_answer(json.dumps(document), ReplyAnswer)
    assert answer.usable_bubbles == ()


@given(st.text(st.characters(), max_size=300), st.lists(st.text(st.characters()), max_size=6))
def test_a_reply_is_never_blank_and_always_sendable(reply, bubbles):
    """Control characters and lone surrogates are gone, or the part is refused."""
    document = {"detection": DETECTION, "message": {"reply": reply, "bubbles": bubbles}}
    answer = ReplyingAnswer.model_validate(document)
    if isinstance(answer.message, ReplyAnswer):
        assert answer.message.reply.strip()
        answer.message.reply.encode()
        assert all(bubble.strip() for bubble in answer.message.usable_bubbles)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("name", "answer"), [("fused_thinking", ThinkingAnswer), ("fused_reply", ReplyingAnswer)]
)
def test_each_prompt_names_every_part_and_field(name, answer, language):
    """A field that the prompt does not explain is a field that the model guesses."""
    text = prompt(name, language)
    models = [DetectionAnswer, MonologueAnswer, ReasonerAnswer]
    models += [ReplyAnswer] if answer is ReplyingAnswer else []
    for model in (answer, *models):
        for field in model.model_fields:
            assert f"`{field}`" in text


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("writes_reply", [False, True])
def test_the_simulated_model_fills_every_part(language, writes_reply):
    """Nested answers get the content that the separate calls get."""
    user_text = "我今天丢了工作。" if language == "zh" else "I lost my job today."
    material = ThinkingMaterial(
        language=language,
        user_text=user_text,
        history=(),
        persona=Persona(name="Lin"),
        relationship=Relationship(),
        summary="",
        mood=Mood(),
        mode=Mode.NORMAL,
    )
    call = thinking_call(material, writes_reply=writes_reply)
    model = SimulatedModel(seed=3)
    for sample in range(20):
        text = model.answer(chat_body(call, model="simulated"), sample).text
        answer = parse_answer(text, call.response_model)
        assert isinstance(answer.detection, DetectionAnswer)
        assert isinstance(answer.monologue, MonologueAnswer)
        assert isinstance(answer.plan, ReasonerAnswer)
        assert answer.plan.goals
        if writes_reply:
            assert isinstance(answer.message, ReplyAnswer)
            assert answer.message.usable_bubbles or len(answer.message.bubbles) > MAX_BUBBLES
            assert model.true_quality(answer.message.reply) != 0
