"""The turn's last step."""

from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore

from callwise.calls import Purpose, Reply
from callwise.memory import AgentUser, MemoryConflict
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.langgraph_backend import LangGraphBackend
from callwise.testing.fakes import ScriptedLLM
from nodes.loader import RelationState, load_turn
from nodes.memory_writer import write_turn
from nodes.records import Degradation, Mood, NoteDraft

LIN_AND_ANN = AgentUser("lin", "ann")


@pytest.fixture
def memory() -> ConversationMemory:
    """Return an empty memory."""
    return ConversationMemory(LangGraphBackend(InMemoryStore()))


async def _write(
    memory: ConversationMemory, turn: int = 0, **options: Any
) -> tuple[int, Degradation | None]:
    given: dict[str, Any] = {"version": turn, "relation": RelationState(), **options}
    return await write_turn(
        memory,
        LIN_AND_ANN,
        conversation_id="one",
        turn=turn,
        user_text="I hate cilantro",
        reply="Noted, no cilantro.",
        **given,
    )


async def test_the_same_turn_is_kept_once(memory: ConversationMemory) -> None:
    """Writing again changes nothing."""
    assert await _write(memory, relation=RelationState(mood=Mood(pleasure=0.5))) == (0, None)
    assert await _write(memory, relation=RelationState(mood=Mood(pleasure=-0.5))) == (0, None)
    assert (await memory.load(LIN_AND_ANN)).version == 1
    loaded = await load_turn(
        memory, LIN_AND_ANN, conversation_id="one", turn=None, user_text="so what now"
    )
    assert loaded.relation.mood.pleasure == 0.5


async def test_notes_that_quote_what_was_not_said_are_counted(memory: ConversationMemory) -> None:
    """Only a note with words of the turn is kept."""
    notes = [
        NoteDraft(text="Hates cilantro.", kind="preference", evidence="hate cilantro"),
        NoteDraft(text="Loves basil.", kind="preference", evidence="love basil"),
    ]
    assert await _write(memory, notes=notes) == (1, None)
    snapshot = await memory.load(LIN_AND_ANN)
    assert [note.text for note in snapshot.notes] == ["Hates cilantro."]


async def test_a_turn_of_an_old_version_keeps_nothing(
    memory: ConversationMemory,
) -> None:
    """Two writers are never merged."""
    await _write(memory, 0)
    with pytest.raises(MemoryConflict):
        await _write(memory, 1, version=0, new_summary="lost")
    snapshot = await memory.load(LIN_AND_ANN)
    assert (snapshot.version, snapshot.summary) == (1, None)


async def test_a_vector_is_asked_for_both_sides(memory: ConversationMemory) -> None:
    """One embedding call has both texts."""
    llm = ScriptedLLM({Purpose.EMBED: Reply("", vectors=((1.0, 0.0),), model="toy")})
    _, degradation = await _write(memory, embedder=llm)
    assert degradation is None
    assert [call.inputs for call in llm.calls] == [("I hate cilantro\nNoted, no cilantro.",)]


async def test_an_answer_without_a_vector_is_said(memory: ConversationMemory) -> None:
    """The turn is kept all the same."""
    llm = ScriptedLLM({Purpose.EMBED: Reply("nothing")})
    _, degradation = await _write(memory, embedder=llm)
    assert (await memory.load(LIN_AND_ANN)).version == 1
    assert degradation is not None
    assert degradation.reason == "invalid"
