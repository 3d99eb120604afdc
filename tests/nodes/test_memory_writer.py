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
from nodes.memory_writer import WrittenTurn, write_turn
from nodes.records import Degradation, Mood, NoteDraft

LIN_AND_ANN = AgentUser("lin", "ann")


@pytest.fixture
def book() -> ConversationMemory:
    """Return an empty memory."""
    return ConversationMemory(LangGraphBackend(InMemoryStore()))


async def _write(
    book: ConversationMemory, turn: int = 0, **options: Any
) -> tuple[WrittenTurn, Degradation | None]:
    given: dict[str, Any] = {"version": turn, "standing": RelationState(), **options}
    return await write_turn(
        book,
        LIN_AND_ANN,
        conversation_id="one",
        turn=turn,
        user_text="I hate cilantro",
        reply="Noted, no cilantro.",
        **given,
    )


async def test_the_same_turn_is_kept_once(book: ConversationMemory) -> None:
    """Writing again changes nothing and says so."""
    first, _ = await _write(book, standing=RelationState(mood=Mood(pleasure=0.5)))
    again, _ = await _write(book, standing=RelationState(mood=Mood(pleasure=-0.5)))
    assert (first, again) == (
        WrittenTurn(version=1, was_new=True, dropped_notes=0),
        WrittenTurn(version=1, was_new=False, dropped_notes=0),
    )
    loaded = await load_turn(
        book, LIN_AND_ANN, conversation_id="one", turn=None, user_text="so what now"
    )
    assert loaded.standing.mood.pleasure == 0.5


async def test_notes_that_quote_what_was_not_said_are_counted(book: ConversationMemory) -> None:
    """Only a note with words of the turn is kept."""
    notes = [
        NoteDraft(text="Hates cilantro.", kind="preference", evidence="hate cilantro"),
        NoteDraft(text="Loves basil.", kind="preference", evidence="love basil"),
    ]
    written, _ = await _write(book, notes=notes)
    assert written.dropped_notes == 1
    snapshot = await book.load(LIN_AND_ANN)
    assert [note.text for note in snapshot.notes] == ["Hates cilantro."]


async def test_a_turn_that_stands_on_an_old_version_keeps_nothing(book: ConversationMemory) -> None:
    """Two writers are never merged."""
    await _write(book, 0)
    with pytest.raises(MemoryConflict):
        await _write(book, 1, version=0, new_summary="lost")
    snapshot = await book.load(LIN_AND_ANN)
    assert (snapshot.version, snapshot.summary) == (1, None)


async def test_a_vector_is_asked_for_both_sides(book: ConversationMemory) -> None:
    """One embedding call holds what both said."""
    asker = ScriptedLLM({Purpose.EMBED: Reply("", vectors=((1.0, 0.0),), model="toy")})
    _, degradation = await _write(book, embed_asker=asker)
    assert degradation is None
    assert [call.inputs for call in asker.calls] == [("I hate cilantro\nNoted, no cilantro.",)]


async def test_an_answer_without_a_vector_is_said(book: ConversationMemory) -> None:
    """The turn is kept all the same."""
    written, degradation = await _write(
        book, embed_asker=ScriptedLLM({Purpose.EMBED: Reply("nothing")})
    )
    assert written.was_new
    assert degradation is not None
    assert degradation.reason == "invalid"
