"""What the calls that can bring a reply see of the state."""

from graph.materials import search_material, thinking_material
from graph.state import TurnState
from graph.wind_down import Fusing
from nodes.records import Detection, MemoryLine, Mode, Mood, Relationship, ResponsePlan, Stage
from nodes.style import choose_style

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
    """All that stands in the state before it."""
    material = search_material(STATE)
    assert material.plan.goals == ("Say how far it is",)
    assert (material.stage, material.mode) == (Stage.BONDING, Mode.GUARDED)
    assert [line.user for line in material.memories] == ["She walks a lot."]


def test_fused_thinking_sees_mood_and_mode_as_they_were() -> None:
    """And the style that follows from them, before anything is detected."""
    material = thinking_material(STATE)
    assert (material.mood, material.mode) == (STATE.mood, Mode.GUARDED)
    assert material.style == choose_style(STATE.relationship, STATE.mood, Mode.GUARDED, Detection())


def test_memories_are_for_the_reply() -> None:
    """Without a reply to write they are retrieved beside the call, and may not be there yet."""
    assert list(thinking_material(STATE).memories) == []
    replying = STATE.model_copy(update={"fusing": Fusing(thinking=True, reply=True)})
    assert [line.user for line in thinking_material(replying).memories] == ["She walks a lot."]
