"""State at the start of a turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.memory import InMemoryStore

from callwise.memory import AgentUser, StoreDamaged, TurnCommit
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.langgraph_backend import LangGraphBackend
from nodes.loader import LoadedTurn, RelationState, load_turn, turns_left_out
from nodes.memory_writer import write_turn
from nodes.records import DialogueLine, Mode, Mood, Relationship

LIN_AND_ANN = AgentUser("lin", "ann")


@pytest.fixture
def memory() -> ConversationMemory:
    """Return an empty memory."""
    return ConversationMemory(LangGraphBackend(InMemoryStore()))


async def _load(
    memory: ConversationMemory,
    conversation_id: str = "one",
    turn: int | None = None,
    **options: object,
) -> LoadedTurn:
    given = {"user_text": "hello there", **options}
    return await load_turn(memory, LIN_AND_ANN, conversation_id=conversation_id, turn=turn, **given)


async def _say(
    memory: ConversationMemory,
    turn: int,
    text: str,
    conversation_id: str = "one",
    relation: RelationState | None = None,
) -> None:
    loaded = await _load(memory, conversation_id, turn)
    await write_turn(
        memory,
        LIN_AND_ANN,
        conversation_id=conversation_id,
        turn=turn,
        version=loaded.version,
        user_text=text,
        reply=f"re: {text}",
        relation=relation or loaded.relation,
        new_summary=f"up to {text}",
    )


async def test_a_stranger_starts_from_the_defaults(memory: ConversationMemory) -> None:
    """Nothing is remembered of a new user."""
    assert await _load(memory) == LoadedTurn(
        turn=0,
        version=0,
        language="en",
        history=(),
        shown_turns=0,
        summary="",
        relation=RelationState(),
    )


async def test_a_turn_finds_what_the_one_before_left(memory: ConversationMemory) -> None:
    """History, summary and relation come back as records."""
    relation = RelationState(
        relationship=Relationship(trust=0.7), mood=Mood(pleasure=0.4), mode=Mode.PLAYFUL
    )
    await _say(memory, 0, "first words here", relation=relation)
    loaded = await _load(memory)
    assert loaded.turn == 1
    assert loaded.history == (
        DialogueLine(role="user", text="first words here"),
        DialogueLine(role="agent", text="re: first words here"),
    )
    assert (loaded.summary, loaded.relation) == ("up to first words here", relation)
    assert (loaded.version, loaded.shown_turns) == (1, 1)


async def test_only_the_conversations_own_lines_are_history(memory: ConversationMemory) -> None:
    """Turns of another conversation count for retrieval and not for history."""
    await _say(memory, 0, "a first", "one")
    await _say(memory, 0, "b first", "two")
    await _say(memory, 1, "a second", "one")
    loaded = await _load(memory, "one", 2)
    assert [line.text for line in loaded.history if line.role == "user"] == ["a first", "a second"]
    assert loaded.shown_turns == 1
    assert (await _load(memory, "three")).turn == 0
    assert (await _load(memory, "two")).turn == 1


async def test_history_is_as_long_as_asked(memory: ConversationMemory) -> None:
    """The oldest turns fall out first, and 0 shows none."""
    for turn in range(4):
        await _say(memory, turn, f"say {turn}")
    loaded = await _load(memory, history_turns=2)
    assert [line.text for line in loaded.history if line.role == "user"] == ["say 2", "say 3"]
    assert (await _load(memory, turn=4, history_turns=0)).history == ()


def test_the_window_advances_in_steps_of_half_its_length():
    """So that for several turns a prompt begins as the one before did."""
    shown = [turns - turns_left_out(turns, 8) for turns in range(18)]
    assert shown == [0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 5, 6, 7, 8, 5]


@given(st.integers(0, 500), st.integers(0, 100))
def test_the_window_is_never_longer_than_asked_and_never_goes_back(turns, history_turns):
    """The newest turn is shown wherever any may be."""
    left_out = turns_left_out(turns, history_turns)
    assert 0 <= turns - left_out <= max(history_turns, 0)
    assert left_out <= turns_left_out(turns + 1, history_turns)
    if turns and history_turns:
        assert left_out < turns


async def test_other_conversations_do_not_move_the_window(memory: ConversationMemory) -> None:
    """What counts is the conversation's own turns, wherever they are in memory."""
    for turn in range(3):
        await _say(memory, turn, f"mine {turn}", "mine")
        await _say(memory, turn, f"other {turn}", "other")
    loaded = await _load(memory, "mine", 3, history_turns=2)
    said = [line.text for line in loaded.history if line.role == "user"]
    assert said == ["mine 1", "mine 2"]


async def test_the_language_is_the_conversations(memory: ConversationMemory) -> None:
    """A word of English in a Chinese conversation leaves it Chinese."""
    await _say(memory, 0, "今天天气真好啊我们出去走走吧")
    assert (await _load(memory, user_text="ok")).language == "zh"


async def test_a_turn_run_again_starts_where_it_did(memory: ConversationMemory) -> None:
    """After a crash behind the commit, the same turn sees the same past."""
    await _say(memory, 0, "say 0")
    before = await _load(memory, turn=1)
    await _say(memory, 1, "say 1")
    assert await _load(memory, turn=1) == before


async def test_a_damaged_relation_is_an_error(memory: ConversationMemory) -> None:
    """A store that another program wrote in is not taken for a stranger's."""
    commit = TurnCommit(LIN_AND_ANN, "one", 0, "hi", "hi", 0, relationship={"mood": "grim"})
    await memory.commit(commit)
    with pytest.raises(StoreDamaged, match="cannot be read"):
        await _load(memory)
