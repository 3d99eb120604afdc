"""Memories that are retrieved for the user's words."""

import pytest
from langgraph.store.memory import InMemoryStore

from callwise.calls import Purpose, Reply, Role
from callwise.calls.errors import AuthFailed, ServerFailed
from callwise.memory import AgentUser, Embedding, NewNote, TurnCommit
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.langgraph_backend import LangGraphBackend
from callwise.testing.fakes import ScriptedLLM
from nodes.memory_retriever import retrieve_memories
from nodes.records import MemoryLine

LIN_AND_ANN = AgentUser("lin", "ann")


@pytest.fixture
async def memory() -> ConversationMemory:
    """Return a memory of three turns, each with a vector."""
    memory = ConversationMemory(LangGraphBackend(InMemoryStore()))
    said = [("my cat is called Miso", (1.0, 0.0)), ("I play the cello", (0.0, 1.0)), ("hm", (0, 0))]
    for turn, (text, vector) in enumerate(said):
        notes = (
            (NewNote("The cat is called Miso.", "cat is called Miso"),) if "Miso" in text else ()
        )
        await memory.commit(
            TurnCommit(
                LIN_AND_ANN,
                "one",
                turn,
                text,
                "I see",
                turn,
                time="2024-05-01T10:00:00",
                notes=notes,
                embedding=Embedding("toy", vector),
            )
        )
    return memory


async def test_words_find_the_turn_and_its_notes(memory: ConversationMemory) -> None:
    """A memory has a field for when, for who said what, and for what was noted."""
    lines, degradation = await retrieve_memories(
        memory, LIN_AND_ANN, version=3, user_text="how is Miso", max_lines=1
    )
    said = {"user": "my cat is called Miso", "agent": "I see"}
    noted = ("The cat is called Miso.",)
    assert lines == (MemoryLine(turn=0, day="2024-05-01", **said, noted=noted),)
    assert lines[0].shown() == {"day": "2024-05-01", **said, "noted": noted}
    assert degradation is None


async def test_turns_shown_in_the_prompt_are_left_out(memory: ConversationMemory) -> None:
    """Turns shown as history are not remembered a second time."""
    lines, _ = await retrieve_memories(
        memory, LIN_AND_ANN, version=3, user_text="the cello", shown_turns=2
    )
    assert all("cello" not in line.user for line in lines)


@pytest.mark.parametrize(("max_lines", "shown_turns"), [(0, 0), (5, 3)])
async def test_nothing_to_find_asks_nothing(
    memory: ConversationMemory, max_lines: int, shown_turns: int
) -> None:
    """No embedding is bought where no memory could be shown."""
    llm = ScriptedLLM()
    found = await retrieve_memories(
        memory,
        LIN_AND_ANN,
        version=3,
        user_text="the cello",
        max_lines=max_lines,
        shown_turns=shown_turns,
        embedder=llm,
    )
    assert found == ((), None)
    assert llm.calls == []


async def test_vectors_find_what_words_do_not(memory: ConversationMemory) -> None:
    """One embedding call is asked, and its vector ranks too."""
    llm = ScriptedLLM({Purpose.EMBED: Reply("", vectors=((0.0, 1.0),), model="toy")})
    lines, _ = await retrieve_memories(
        memory, LIN_AND_ANN, version=3, user_text="music?", embedder=llm
    )
    assert "cello" in lines[0].user
    assert [(call.role, call.inputs) for call in llm.calls] == [(Role.EMBED, ("music?",))]


async def test_without_an_embedding_words_remain(memory: ConversationMemory) -> None:
    """A failed embedding is said and survived; a wrong key is not."""
    llm = ScriptedLLM({Purpose.EMBED: ServerFailed("down", status=503)})
    lines, degradation = await retrieve_memories(
        memory, LIN_AND_ANN, version=3, user_text="Miso", embedder=llm
    )
    assert lines[0].turn == 0
    assert degradation is not None
    assert (degradation.node, degradation.reason) == ("memory_retriever", "failed")
    wrong_key = ScriptedLLM({Purpose.EMBED: AuthFailed("no", status=401)})
    with pytest.raises(AuthFailed):
        await retrieve_memories(
            memory, LIN_AND_ANN, version=3, user_text="Miso", embedder=wrong_key
        )
