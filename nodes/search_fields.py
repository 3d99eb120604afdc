"""What a turn's material says in every prompt of the search, by who reads it."""

from typing import Any

from nodes.search_material import SearchMaterial

__all__ = ["judging_fields", "writing_fields"]


def judging_fields(material: SearchMaterial, *, goal: str | None = None) -> dict[str, Any]:
    """Return what a judge needs to see. Not the thoughts, which no user will see.

    Args:
        material: of this turn.
        goal: what the reply is to reach, in the proposer's words. Untrusted; None leaves
            the field out.
    """
    lasting = material.lasting
    return {
        "user_text": material.user_text,
        "persona": lasting["persona"],
        "history": lasting["history"],
        "plan": lasting["plan"],
        "style": lasting["style"],
        "mode": material.mode,
        "stage": material.stage,
        "goal": goal,
    }


def writing_fields(material: SearchMaterial, *, goal: str | None = None) -> dict[str, Any]:
    """Return what whoever writes a reply needs to see; see `judging_fields`."""
    lasting = material.lasting
    return {
        **judging_fields(material, goal=goal),
        "memories": lasting["memories"],
        "monologue": lasting["monologue"],
        "summary": material.summary,
    }
