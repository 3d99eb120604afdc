"""A memory as it was before any turn of a finished run."""

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
    """Return the backend of a run, and the memory that each of its turns loaded."""
    backend = SnapshotBackend()
    memory = ConversationMemory(backend)
    shown = []
    for turn in range(turns):
        snapshot = await memory.load(SAM, before_turn=("talk", turn))
        recalled = await memory.retrieve(snapshot, "otters question 1", 2)
        shown.append((snapshot, recalled))
        await memory.commit(_commit(turn, turn))
    return backend, shown


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 2, 1), (2, 2, 2)])
async def test_each_turn_sees_what_it_saw(order: tuple[int, ...]) -> None:
    """In any order, as often as one likes, whatever was committed in between."""
    backend, shown = await _finished(4)
    memory = SnapshotMemory(backend)
    for turn in order:
        snapshot = await memory.load(SAM, before_turn=("talk", turn))
        recalled = await memory.retrieve(snapshot, "otters question 1", 2)
        assert (snapshot, recalled) == shown[turn]
        result = await memory.commit(_commit(turn, snapshot.version))
        assert (result.version, result.was_new) == (turn + 1, True)


async def test_nothing_is_stored() -> None:
    """A commit into the past leaves the backend as it was."""
    backend, _ = await _finished(2)
    before = await backend.turns(SAM, after=0, upto=9), await backend.state(SAM)
    memory = SnapshotMemory(backend)
    await memory.load(SAM, before_turn=("talk", 1))
    await memory.commit(_commit(1, 1))
    assert (await backend.turns(SAM, after=0, upto=9), await backend.state(SAM)) == before


@pytest.mark.parametrize("turn", [None, ("talk", 9), ("other", 0)])
async def test_a_turn_that_was_never_run_has_no_past(turn: tuple[str, int] | None) -> None:
    """The error names the agent and the user."""
    backend, _ = await _finished(1)
    with pytest.raises(StoreFailed, match="'sam' has no turn"):
        await SnapshotMemory(backend).load(SAM, before_turn=turn)


async def test_a_backend_stores_turns_in_order() -> None:
    """Two turns on the same version cannot both be stored."""
    backend, _ = await _finished(1)
    (kept,) = await backend.turns(SAM, after=0, upto=1)
    with pytest.raises(MemoryConflict):
        await backend.append(SAM, kept, {})
    assert backend.state_at(SAM, 0) == {}


def test_a_state_cannot_be_changed_from_outside() -> None:
    """States are copied on the way in and out."""
    backend, _ = asyncio.run(_finished(1))
    state = asyncio.run(backend.state(SAM))
    assert state is not None
    state["relationship"]["trust"] = 9  # type: ignore[index]
    again = asyncio.run(backend.state(SAM))
    assert again is not None
    assert again["relationship"] == {"trust": 0.0}
