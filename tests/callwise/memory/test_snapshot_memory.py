"""A memory that goes back to any turn of a finished run."""

import asyncio
from typing import Any

import pytest

from callwise.memory import AgentUser, MemoryConflict, NewNote, StoreFailed, TurnCommit
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.snapshot_memory import SnapshotBackend, SnapshotMemory

SAM = AgentUser("agent", "sam")


def _commit(turn: int, version: int, **fields: Any) -> TurnCommit:
    return TurnCommit(
        agent_user=SAM,
        conversation_id="talk",
        turn=turn,
        user_text=f"question {turn} about otters",
        reply=f"answer {turn}",
        expected_version=version,
        notes=(NewNote(f"note {turn}", f"question {turn}", "fact"),),
        summary=f"summary {turn}",
        relationship={"trust": turn / 10},
        **fields,
    )


async def _finished(turns: int) -> tuple[SnapshotBackend, list[Any]]:
    """Return the shelf of a run, and what each of its turns was shown."""
    shelf = SnapshotBackend()
    book = ConversationMemory(shelf)
    shown = []
    for turn in range(turns):
        snapshot = await book.load(SAM, before_turn=("talk", turn))
        recalled = await book.retrieve(snapshot, "otters question 1", 2)
        shown.append((snapshot, recalled))
        await book.commit(_commit(turn, turn))
    return shelf, shown


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 2, 1), (2, 2, 2)])
async def test_each_turn_sees_what_it_saw(order: tuple[int, ...]) -> None:
    """In any order, as often as one likes, whatever was committed in between."""
    shelf, shown = await _finished(4)
    book = SnapshotMemory(shelf)
    for turn in order:
        snapshot = await book.load(SAM, before_turn=("talk", turn))
        recalled = await book.retrieve(snapshot, "otters question 1", 2)
        assert (snapshot, recalled) == shown[turn]
        result = await book.commit(_commit(turn, snapshot.version))
        assert (result.version, result.was_new) == (turn + 1, True)


async def test_nothing_is_kept() -> None:
    """A commit into the past leaves the shelf as it was."""
    shelf, _ = await _finished(2)
    before = await shelf.turns(SAM, after=0, upto=9), await shelf.state(SAM)
    book = SnapshotMemory(shelf)
    await book.load(SAM, before_turn=("talk", 1))
    await book.commit(_commit(1, 1))
    assert (await shelf.turns(SAM, after=0, upto=9), await shelf.state(SAM)) == before


@pytest.mark.parametrize("turn", [None, ("talk", 9), ("other", 0)])
async def test_a_turn_that_was_never_run_has_no_past(turn: tuple[str, int] | None) -> None:
    """It is said whose past that is."""
    shelf, _ = await _finished(1)
    with pytest.raises(StoreFailed, match="'sam' has no turn"):
        await SnapshotMemory(shelf).load(SAM, before_turn=turn)


async def test_a_shelf_keeps_turns_in_line() -> None:
    """Two that stand on the same version cannot both be kept."""
    shelf, _ = await _finished(1)
    (kept,) = await shelf.turns(SAM, after=0, upto=1)
    with pytest.raises(MemoryConflict):
        await shelf.append(SAM, kept, {})
    assert shelf.state_at(SAM, 0) == {}


def test_a_state_cannot_be_changed_from_outside() -> None:
    """What was handed in or out is a copy."""
    shelf, _ = asyncio.run(_finished(1))
    state = asyncio.run(shelf.state(SAM))
    assert state is not None
    state["relationship"]["trust"] = 9  # type: ignore[index]
    again = asyncio.run(shelf.state(SAM))
    assert again is not None
    assert again["relationship"] == {"trust": 0.0}
