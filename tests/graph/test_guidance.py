"""Guidelines of one turn's search reach the next turn, and expire."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from callwise.recordings.app_protocol import TurnInput
from graph.app import app

HARD_TO_PLEASE = (
    "search.attribute_weights={score: 1, assistantness: 1}",  # no candidate sounds like one
    "search.early_exit.enabled=false",
)
LEARNS_NOTHING = ("search.reflection.enabled=false", "search.early_exit.enabled=false")


def _minded(folder: Path, overrides: Sequence[str], preset: str = "balanced") -> list[Any]:
    """Return the guidelines that one more turn of the conversation leaves to the next."""

    async def run() -> list[Any]:
        chosen = app.settings(preset, overrides)
        async with app.open(chosen, folder=folder) as session:
            turn = await session.run_turn(TurnInput("talk", None, "I am scared of Monday."))
        search: dict[str, Any] = turn.record["search"]
        return list(search.get("guidelines", []))

    return asyncio.run(run())


def test_a_guideline_outlives_the_session_that_made_it(tmp_path: Path) -> None:
    """Memory keeps it, a turn older each time, until its time is over."""
    made = _minded(tmp_path, HARD_TO_PLEASE)
    assert made
    assert {each["ttl_turns"] for each in made} == {2}
    kept = _minded(tmp_path, LEARNS_NOTHING)
    assert kept == [{**each, "ttl_turns": 1} for each in made]
    assert _minded(tmp_path, LEARNS_NOTHING) == []


def test_a_turn_without_a_search_lets_them_age_all_the_same(tmp_path: Path) -> None:
    """A fused reply asks no search; guidelines are a turn older after it."""
    made = _minded(tmp_path, HARD_TO_PLEASE)
    assert _minded(tmp_path, (), preset="instant") == []  # it says nothing of a search
    assert _minded(tmp_path, LEARNS_NOTHING) == []
    assert made


def test_memory_without_guidelines_is_as_it_was(tmp_path: Path) -> None:
    """The classic search leaves none, and nothing is written of them."""
    _minded(tmp_path, (), preset="classic")
    assert b"guidance" not in (tmp_path / "memory.sqlite").read_bytes()
