"""Inner monologue: one call, or rules."""

import json

import pytest

from callwise.calls import Purpose, Role
from callwise.testing.fakes import ScriptedLLM
from nodes.inner_monologue import MONOLOGUE, think_by_rules
from nodes.records import Detection, Language, Mode, Monologue, Persona, Relationship
from nodes.turn import TurnView


async def run(llm, detection=Detection(context="The user greets."), language: Language = "en"):  # noqa: B008 - frozen
    """Think in one turn."""
    view = TurnView(
        language=language,
        user_text="hi",
        persona=Persona(),
        relationship=Relationship(),
        detection=detection,
        mode=Mode.PLAYFUL,
    )
    return await MONOLOGUE.ask(llm, view)


async def test_it_asks_one_main_call_that_sees_detection_and_mode():
    """The thought builds on what was detected."""
    llm = ScriptedLLM({Purpose.MONOLOGUE: {"thought": " So early? ", "feeling": None}})
    assert await run(llm) == (Monologue(thought="So early?"), None)
    (call,) = llm.calls
    assert (call.role, call.purpose) == (Role.MAIN, Purpose.MONOLOGUE)
    fields = json.loads(call.messages[-1].content)
    assert fields["mode"] == "playful"
    assert fields["detection"]["context"] == "The user greets."


async def test_rules_think_when_the_budget_refuses():
    """The rules' thought is what was detected."""
    monologue, degradation = await run(ScriptedLLM(max_calls=0))
    assert degradation.node == "inner_monologue"
    assert monologue.thought == "The user greets."
    assert monologue.impulse == "Tease back a little."


@pytest.mark.parametrize(
    ("detection", "feeling"),
    [
        (Detection(hostility=0.8, sentiment=-0.8), "hurt"),
        (Detection(sentiment=-0.5), "concerned"),
        (Detection(sentiment=0.5), "pleased"),
        (Detection(vagueness=0.9), "puzzled"),
        (Detection(), "calm"),
    ],
)
def test_the_rules_feeling_follows_the_message(detection, feeling):
    """Being attacked comes first, then the user's mood, then how much there is to answer."""
    assert think_by_rules(detection, Mode.NORMAL, "en").feeling == feeling


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_rules_always_think_something(mode, language):
    """No field is blank, whatever the mode."""
    monologue = think_by_rules(Detection(), mode, language)
    assert all((monologue.thought, monologue.feeling, monologue.impulse))
