"""What the calls that can bring a reply see of the state."""

from graph.state import TurnState
from nodes.fused_thinking import ThinkingMaterial
from nodes.records import Detection
from nodes.search_material import SearchMaterial
from nodes.style import choose_style

__all__ = ["search_material", "thinking_material"]


def search_material(state: TurnState) -> SearchMaterial:
    """Return what the search's calls see."""
    return SearchMaterial(
        language=state.language,
        user_text=state.user_text,
        persona=state.persona,
        history=tuple(state.history),
        memories=tuple(state.memories),
        plan=state.plan,
        monologue=state.monologue,
        style=state.style,
        mode=state.mode,
        stage=state.relationship.stage,
        summary=state.earlier,
    )


def thinking_material(state: TurnState) -> ThinkingMaterial:
    """Return what the fused thinking call sees.

    Memories only where it writes the reply: else they are retrieved beside it. The style
    is the one that follows from mood and mode before the turn: what would change them is
    only found by this call.
    """
    return ThinkingMaterial(
        language=state.language,
        user_text=state.user_text,
        history=state.history,
        persona=state.persona,
        relationship=state.relationship,
        summary=state.earlier,
        mood=state.mood,
        mode=state.mode,
        memories=state.memories if state.fusing.reply else (),
        style=choose_style(state.relationship, state.mood, state.mode, Detection()),
    )
