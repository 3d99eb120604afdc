"""What a turn's material says in every prompt of the search, by who reads it."""

from typing import Any

from nodes.search_material import SearchMaterial

__all__ = ["judging_fields", "task_fields", "writing_fields"]


def task_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what a message is to do, the same in all calls of a turn, then what one call asks.

    Args:
        material: of this turn.
        asked: what this call asks for, the steadier first; empty ones are left out.
    """
    lasting = {name: material.lasting.get(name) for name in ("plan", "style")}
    return {name: value for name, value in (lasting | asked).items() if value}


def judging_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what a judge needs to see. Not the thoughts, which no user will see.

    Args:
        material: of this turn.
        asked: as in `task_fields`.
    """
    lasting = material.lasting
    return {
        "persona": lasting.get("persona"),
        "chat": lasting["chat"],
        "stage": material.stage,
        "mode": material.mode,
        "task": task_fields(material, **asked),
    }


def writing_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what whoever writes a reply needs to see; see `judging_fields`."""
    lasting = material.lasting
    return {
        **judging_fields(material, **asked),
        "summary": material.summary,
        "memories": lasting.get("memories"),
        "monologue": lasting.get("monologue"),
    }
