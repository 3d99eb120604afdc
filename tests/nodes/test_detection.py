"""Detection: one call, or rules."""

import json

import pytest

from callwise.calls import Purpose, Role
from callwise.testing.fakes import ScriptedLLM
from nodes.detection import DETECTION, DetectionAnswer
from nodes.records import DialogueLine, Persona, Relationship, Signal, Stage
from nodes.turn import TurnView

ANSWER = {
    "context": "The user is angry about a delay.",
    "signals": ["criticism", "sarcasm", "Self-Disclosure"],
    "sentiment": -3,
    "arousal": "0.5",
    "hostility": 0.2,
    "stage_hint": "honeymoon",
    "confidence": 0.9,
}


async def run(llm, **changes):
    """Detect in one turn, with the given fields of it changed."""
    fields = {
        "language": "en",
        "user_text": "you never answer my question",
        "history": [DialogueLine(role="agent", text=f"line {number}") for number in range(30)],
        "persona": Persona(name="Mira"),
        "relationship": Relationship(),
        "summary": "They met.",
        "version": 1,
    }
    return await DETECTION.ask(llm, TurnView(**(fields | changes)))


async def test_it_asks_one_fast_call_with_the_material():
    """Role, purpose, response model and material are those of the design."""
    llm = ScriptedLLM({Purpose.DETECT: ANSWER})
    await run(llm)
    (call,) = llm.calls
    assert (call.role, call.purpose) == (Role.FAST, Purpose.DETECT)
    assert call.response_model is DetectionAnswer
    assert call.sampling.max_tokens is not None
    fields = json.loads(call.messages[-1].content)
    assert len(fields["chat"]) == 31
    assert [*fields["chat"][0].values()] == ["line 0"]
    assert set(fields["chat"][-1]) == {"user"}
    assert (fields["stage"], fields["relationship"]) == ("initiating", "not close, little trust")
    assert fields["persona"]["name"] == "Mira"
    assert fields["summary"] == "They met."


async def test_a_careless_answer_is_mended():
    """Unknown names go, scores are clamped, foreign fields are ignored."""
    detection, degradation = await run(ScriptedLLM({Purpose.DETECT: ANSWER}))
    assert degradation is None
    assert detection.signals == (Signal.CRITICISM, Signal.SELF_DISCLOSURE)
    assert (detection.sentiment, detection.arousal, detection.vagueness) == (-1.0, 0.5, 0.0)
    assert detection.stage_hint is None


async def test_a_known_stage_is_taken():
    """A hint from the closed set reaches the record."""
    detection, _ = await run(ScriptedLLM({Purpose.DETECT: ANSWER | {"stage_hint": "Avoiding"}}))
    assert detection.stage_hint is Stage.AVOIDING


@pytest.mark.parametrize("answer", [{}, {"signals": []}, "sorry, I cannot", "<html>"])
async def test_rules_detect_when_the_answer_does_not(answer):
    """An answer without its core is no answer; the rules say what they see."""
    detection, degradation = await run(ScriptedLLM({Purpose.DETECT: answer}))
    assert degradation.node == "detection"
    assert degradation.reason == "invalid"
    assert Signal.CRITICISM in detection.signals


async def test_rules_detect_when_the_budget_refuses():
    """A turn without quota for a call still has a detection."""
    detection, degradation = await run(ScriptedLLM(max_calls=0), language="zh", user_text="谢谢！")
    assert degradation.reason == "refused"
    assert detection.signals == (Signal.GRATITUDE,)


async def test_a_very_long_message_fits_the_prompt():
    """100,000 characters are clipped in the prompt."""
    llm = ScriptedLLM({Purpose.DETECT: ANSWER})
    await run(llm, user_text="长" * 100_000 + "\ud800")
    assert len(llm.calls[0].messages[-1].content) < 20_000
