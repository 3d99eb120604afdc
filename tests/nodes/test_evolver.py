"""Evolver: one call, or rules."""

import json

from hypothesis import given
from hypothesis import strategies as st

from callwise.calls import Purpose, Role
from callwise.testing.fakes import ScriptedLLM
from nodes.evolver import EVOLVING, MAX_RISES, RelationshipDelta, evolve_by_rules
from nodes.records import Detection, Persona, Relationship, Signal
from nodes.turn import TurnView


async def run(llm, detection=Detection(signals=(Signal.GRATITUDE,))):  # noqa: B008 - frozen
    """Judge one turn."""
    view = TurnView(
        language="en",
        user_text="thanks!",
        reply="any time",
        persona=Persona(),
        relationship=Relationship(trust=0.7),
        detection=detection,
    )
    return await EVOLVING.ask(llm, view)


async def test_it_asks_one_fast_call_about_the_whole_turn():
    """The model sees message and reply, and its deltas are clamped to [-1, 1]."""
    llm = ScriptedLLM(
        {Purpose.EVOLVE: {"reason": "Thanks.", "warmth_delta": 4, "trust_delta": -0.1}}
    )
    assert await run(llm) == (RelationshipDelta(reason="Thanks.", warmth=1.0, trust=-0.1), None)
    (call,) = llm.calls
    assert (call.role, call.purpose) == (Role.FAST, Purpose.EVOLVE)
    fields = json.loads(call.messages[-1].content)
    assert fields["chat"][-2:] == [{"user": "thanks!"}, {"agent": "any time"}]
    assert "much trust" in fields["relationship"]


async def test_an_answer_without_a_reason_is_no_answer():
    """An object from somewhere else does not pass for "nothing moved"."""
    delta, degradation = await run(ScriptedLLM({Purpose.EVOLVE: {"error": "overloaded"}}))
    assert (degradation.node, degradation.reason) == ("evolver", "invalid")
    assert delta.warmth > 0.0


def test_the_rules_know_good_from_bad():
    """Confiding brings people closer, an attack and a trick cost trust."""
    confided = evolve_by_rules(Detection(signals=(Signal.VULNERABILITY,)), "en")
    attacked = evolve_by_rules(Detection(hostility=0.9, sentiment=-0.9), "en")
    tricked = evolve_by_rules(Detection(signals=(Signal.MANIPULATION,)), "zh")
    ordinary = evolve_by_rules(Detection(), "en")
    assert confided.closeness > 0.0 < confided.trust
    assert attacked.liking < -0.5 > attacked.warmth
    assert tricked.trust == -0.5
    assert all(getattr(ordinary, name) == 0.0 for name in MAX_RISES)
    assert ordinary.reason


@given(
    st.lists(st.sampled_from(Signal), max_size=15),
    st.floats(0.0, 1.0),
    st.floats(-1.0, 1.0),
)
def test_the_rules_stay_in_range(signals, hostility, sentiment):
    """However much comes together, a delta fits its record."""
    detection = Detection(signals=tuple(signals), hostility=hostility, sentiment=sentiment)
    assert evolve_by_rules(detection, "zh").reason
