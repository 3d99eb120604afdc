"""Memory of conversations, over a LangGraph store and over SQLite: the same contract."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore

from callwise.calls.errors import ConfigError
from callwise.calls.payload import json_bytes, json_object
from callwise.memory import (
    AgentUser,
    Embedding,
    MemoryConflict,
    MemorySnapshot,
    NewNote,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    TurnCommit,
)
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.langgraph_backend import LangGraphBackend
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.memory.stored_records import escape_label

ANN = AgentUser("lin", "ann")


class LangGraphFile:
    """A memory in a LangGraph store, to be changed by hand."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.backend = LangGraphBackend(self.store)

    def change_entry(self, version: int, change: dict[str, object] | None) -> None:
        """Change fields of a turn's entry, or remove the turn."""
        namespace, key = ("callwise", *ANN.labels, "transcript"), f"{version:012d}"
        if change is None:
            self.store.delete(namespace, key)
        else:
            value = self.store.get(namespace, key).value
            self.store.put(namespace, key, {**value, **change})

    def clear(self) -> None:
        """Remove the memory."""
        self.store.delete(("callwise", *ANN.labels, "state"), "state")


class SqliteFile:
    """A memory in a SQLite file, to be changed by hand."""

    def __init__(self, path: Path) -> None:
        self.backend = SqliteBackend(path)

    def change_entry(self, version: int, change: dict[str, object] | None) -> None:
        """Change fields of a turn's entry, or remove the turn."""
        connection = self.backend._connection
        if change is None:
            connection.execute("DELETE FROM turns WHERE version = ?", (version,))
            return
        query = "SELECT turn FROM turns WHERE version = ?"
        turn = json_object(connection.execute(query, (version,)).fetchone()[0])
        turn["entry"].update(change)
        connection.execute(
            "UPDATE turns SET turn = ? WHERE version = ?", (json_bytes(turn), version)
        )

    def clear(self) -> None:
        """Remove the memory."""
        self.backend._connection.execute("DELETE FROM turns")


Kept = LangGraphFile | SqliteFile


@pytest.fixture(params=["sqlite", "langgraph"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    """Return each kind of backend, empty."""
    if request.param == "langgraph":
        yield LangGraphFile()
        return
    file = SqliteFile(tmp_path / "memory.sqlite")
    with file.backend:
        yield file


def opened(store: Kept, **given: object) -> ConversationMemory:
    """Return another memory over the same backend, as another process would have."""
    return ConversationMemory(store.backend, **given)


@pytest.fixture
def memory(store: Kept) -> ConversationMemory:
    """Return a memory over an empty backend."""
    return opened(store)


def turn(number: int, version: int | None = None, **fields: object) -> TurnCommit:
    """Return a turn about the number-th thing, based on the version before it."""
    said = {"user_text": f"I bought thing{number}.", "reply": f"A fine thing{number}!"}
    expected = number if version is None else version
    values = {"agent_user": ANN, "conversation_id": "c", "turn": number, **said, **fields}
    return TurnCommit(expected_version=expected, **values)


async def filled(memory: ConversationMemory, turns: int) -> MemorySnapshot:
    """Commit some turns and return what is remembered of them."""
    for number in range(turns):
        await memory.commit(turn(number, notes=(NewNote(f"owns {number}", f"thing{number}"),)))
    return await memory.load(ANN)


async def test_a_stranger_is_unknown(memory: ConversationMemory) -> None:
    """Before the first turn everything is empty, and nothing is found."""
    snapshot = await memory.load(ANN)
    assert snapshot == MemorySnapshot(ANN)
    assert await memory.retrieve(snapshot, "anything", 5) == []


async def test_a_turn_is_remembered(memory: ConversationMemory, store: Kept) -> None:
    """By this object, and by another one on the same store."""
    commit = turn(
        0,
        time="2026-04-28T10:00:00",
        notes=(NewNote("owns a thing", "bought thing0", "fact"),),
        summary="Ann buys things.",
        relationship={"closeness": 0.25, "stage": "initiating"},
        profile={"name": "Ann"},
    )
    assert (await memory.commit(commit)).was_new
    for reader in (memory, opened(store)):
        snapshot = await reader.load(ANN)
        assert snapshot.version == 1
        assert snapshot.profile == {"name": "Ann"}
        assert snapshot.relationship == {"closeness": 0.25, "stage": "initiating"}
        assert (snapshot.summary.text, snapshot.summary.version) == ("Ann buys things.", 1)
        (entry,) = snapshot.transcript
        assert (entry.user_text, entry.reply) == (commit.user_text, commit.reply)
        assert (entry.turn, entry.time, entry.version) == (0, "2026-04-28T10:00:00", 1)
        (note,) = snapshot.notes
        assert (note.evidence, note.kind, note.turn) == ("bought thing0", "fact", 0)


async def test_a_turn_changes_only_the_given_fields(memory: ConversationMemory) -> None:
    """Summary, relationship and profile are kept until something replaces them."""
    await memory.commit(turn(0, summary="S", relationship={"a": 1}, profile={"b": 2}))
    await memory.commit(turn(1, relationship={"a": 3}))
    snapshot = await memory.load(ANN)
    assert (snapshot.summary.text, snapshot.summary.version) == ("S", 1)
    assert (snapshot.relationship, snapshot.profile) == ({"a": 3}, {"b": 2})


async def test_the_last_turns_and_notes_are_shown(memory: ConversationMemory) -> None:
    """Oldest first, and no more than was asked for."""
    await filled(memory, 5)
    snapshot = await memory.load(ANN, max_turns=2, max_notes=3)
    assert [entry.turn for entry in snapshot.transcript] == [3, 4]
    assert [note.text for note in snapshot.notes] == ["owns 2", "owns 3", "owns 4"]
    none = await memory.load(ANN, max_turns=0, max_notes=0)
    assert (none.version, none.transcript, none.notes) == (5, (), ())


async def test_a_turn_is_stored_once(memory: ConversationMemory, store: Kept) -> None:
    """A repeated commit changes nothing, from this object or another one, whatever its content."""
    await filled(memory, 2)
    again = replace(turn(1), user_text="Something else.", notes=())
    for committer in (memory, opened(store)):
        result = await committer.commit(again)
        assert (result.version, result.was_new) == (2, False)
        result = await committer.commit(replace(again, expected_version=2))
        assert (result.version, result.was_new) == (2, False)
    snapshot = await opened(store).load(ANN)
    assert [entry.user_text for entry in snapshot.transcript] == [
        "I bought thing0.",
        "I bought thing1.",
    ]


async def test_a_turn_that_is_run_again_sees_what_it_saw(
    memory: ConversationMemory, store: Kept
) -> None:
    """Cut off right after its commit, it gets the same snapshot and the same memories."""
    await memory.commit(turn(0, relationship={"n": 0}, summary="zero"))
    before = await memory.load(ANN, before_turn=("c", 1))
    found = await memory.retrieve(before, "which thing did I buy?", 5)
    commit = turn(1, relationship={"n": 1}, summary="one", profile={"x": 1})
    await memory.commit(commit)
    for reader in (memory, opened(store)):
        again = await reader.load(ANN, before_turn=("c", 1))
        assert again == before
        assert await reader.retrieve(again, "which thing did I buy?", 5) == found
        assert not (await reader.commit(replace(commit, expected_version=again.version))).was_new
        assert (await reader.load(ANN, before_turn=("c", 2))).version == 2


async def test_a_commit_on_an_old_version_is_refused(
    memory: ConversationMemory, store: Kept
) -> None:
    """Of two processes on the same version the second is refused, and loses nothing."""
    other = opened(store)
    await filled(memory, 1)
    await other.load(ANN)
    await memory.commit(turn(1))
    with pytest.raises(MemoryConflict, match="started from version 1") as conflict:
        await other.commit(replace(turn(1), conversation_id="d"))
    assert conflict.value.stored_version == 2
    snapshot = await other.load(ANN)
    assert [(e.conversation_id, e.turn) for e in snapshot.transcript] == [("c", 0), ("c", 1)]
    assert (await other.commit(replace(turn(1, version=2), conversation_id="d"))).version == 3
    with pytest.raises(MemoryConflict):
        await other.commit(turn(9, version=7))


async def test_of_concurrent_turns_one_is_stored(memory: ConversationMemory) -> None:
    """Of tasks that commit different turns on one version one succeeds, the others are refused."""
    commits = [replace(turn(0), conversation_id=f"c{n}") for n in range(8)]
    results = await asyncio.gather(*map(memory.commit, commits), return_exceptions=True)
    lost = [result for result in results if isinstance(result, MemoryConflict)]
    assert (await memory.load(ANN)).version == len(commits) - len(lost) == 1


async def test_a_lost_update_is_noticed() -> None:
    """Without conditional writes, the memory of the lost commit raises, once."""
    file = LangGraphFile()
    memory = opened(file)
    await filled(memory, 2)
    theirs = opened(file)
    await theirs.load(ANN)
    state = ("callwise", *ANN.labels, "state")
    kept = {**file.store.get(state, "state").value, "last_turn": ["theirs", 1]}
    file.change_entry(2, {"conversation_id": "theirs"})
    file.store.put(state, "state", kept)
    with pytest.raises(StoreFailed, match="has overwritten it"):
        await memory.load(ANN)
    assert (await memory.load(ANN)).transcript[-1].conversation_id == "theirs"
    with pytest.raises(StoreFailed, match="has overwritten it"):
        await theirs.load(ANN)


async def test_an_emptied_store_is_noticed(memory: ConversationMemory, store: Kept) -> None:
    """Once; from then on the user is a stranger."""
    await filled(memory, 1)
    store.clear()
    with pytest.raises(StoreFailed, match="fewer turns"):
        await memory.load(ANN)
    assert (await memory.load(ANN)).version == 0


async def test_half_a_turn_is_as_good_as_none() -> None:
    """The rest of an interrupted commit is ignored and overwritten."""
    file = LangGraphFile()
    memory = opened(file)
    await filled(memory, 1)
    transcript, notes = (("callwise", *ANN.labels, kind) for kind in ("transcript", "notes"))
    stray = {"version": "000000000002", "note_count": 2, "user_text": "half"}
    file.store.put(transcript, "000000000002", stray)
    file.store.put(notes, "000000000002-001", {"version": "000000000002"})
    fresh = opened(file)
    assert (await fresh.load(ANN)).version == 1
    await fresh.commit(turn(1, notes=(NewNote("owns", "thing1"),)))
    assert len((await opened(file).load(ANN)).notes) == 2


async def test_a_missing_turn_is_an_error(memory: ConversationMemory, store: Kept) -> None:
    """A memory with a turn missing is not read as if nothing were."""
    await filled(memory, 2)
    store.change_entry(1, None)
    with pytest.raises(StoreDamaged, match=r"turn 1 of 2 .* is missing"):
        await opened(store).load(ANN)


async def test_a_missing_note_is_an_error() -> None:
    """A missing note is named where notes are separate items."""
    file = LangGraphFile()
    await filled(opened(file), 2)
    file.store.delete(("callwise", *ANN.labels, "notes"), "000000000002-000")
    with pytest.raises(StoreDamaged, match=r"notes .* are missing"):
        await opened(file).load(ANN)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reply": None}, "reply=None where str"),
        ({"turn": "3"}, "turn='3' where int"),
        ({"embedding": {"model": "m", "float32_base64": "?"}}, "embedding cannot be read"),
        ({"embedding": 3}, "embedding=3"),
    ],
)
async def test_a_changed_record_is_named(
    memory: ConversationMemory,
    store: Kept,
    change: dict[str, object],
    problem: str,
) -> None:
    """A record of another form is an error that names its field."""
    await filled(memory, 1)
    store.change_entry(1, change)
    with pytest.raises(StoreDamaged, match=problem):
        await opened(store).load(ANN)


async def test_memories_are_found(memory: ConversationMemory) -> None:
    """The turn that is asked for comes first, with its notes; recent ones can be skipped."""
    snapshot = await filled(memory, 6)
    (found,) = await memory.retrieve(snapshot, "thing3", 1)
    assert (found.entry.turn, found.notes[0].text) == (3, "owns 3")
    assert found.relevance > 0
    kept = await memory.retrieve(snapshot, "I bought fine thing5", 9, skip_recent=4)
    assert {hit.entry.turn for hit in kept} == {0, 1}
    assert await memory.retrieve(snapshot, "thing3", 0) == []
    assert await memory.retrieve(snapshot, "thing3", 3, skip_recent=99) == []


async def test_vectors_find_what_words_do_not(memory: ConversationMemory, store: Kept) -> None:
    """A dense ranking is fused in, also after a restart."""
    for number, vector in enumerate([(1.0, 0.0), (0.0, 1.0), (0.7, 0.7)]):
        await memory.commit(turn(number, embedding=Embedding("m", vector)))
    for reader in (memory, opened(store)):
        snapshot = await reader.load(ANN)
        asked = Embedding("m", (0.1, 0.9))
        found = await reader.retrieve(snapshot, "purchase", 2, embedding=asked)
        assert [hit.entry.turn for hit in found] == [1, 2]
        other = Embedding("another model", (0.1, 0.9))
        assert await reader.retrieve(snapshot, "purchase", 2, embedding=other) == []


async def test_a_vector_that_cannot_be_compared_is_refused_before_it_is_stored(
    memory: ConversationMemory, store: Kept
) -> None:
    """Another length under the same model's name is a mistake in the configuration."""
    await memory.commit(turn(0, embedding=Embedding("m", (1.0, 0.0))))
    with pytest.raises(ConfigError, match="3 dimensions where the stored ones have 2"):
        await memory.commit(turn(1, embedding=Embedding("m", (1.0, 0.0, 0.0))))
    assert (await opened(store).load(ANN)).version == 1


def test_notes_must_quote() -> None:
    """Evidence that is not in the turn is refused; so is empty evidence."""
    with pytest.raises(ValueError, match="is not in turn 0"):
        turn(0, notes=(NewNote("likes cats", "I adore cats"),))
    with pytest.raises(ValueError, match="verbatim"):
        turn(0, notes=(NewNote("likes cats", " "),))
    assert NewNote("x", "fine").is_quoted_from("no", "A fine day")


async def test_users_are_kept_apart(memory: ConversationMemory, store: Kept) -> None:
    """Ids with separators and wildcards of stores never reach another user's memory."""
    users = [
        AgentUser(agent, user)
        for agent in ("lin", "lin.a", "")
        for user in ("ann", "a.nn", "a%", "a_n", "*", "安", "", "ANN", "ann=", "\ud83d")
    ]
    for number, user in enumerate(users):
        said = {"user_text": f"secret {number}", "reply": "ok"}
        await memory.commit(TurnCommit(user, "c", 0, expected_version=0, **said))
    fresh = opened(store)
    for number, user in enumerate(users):
        snapshot = await fresh.load(user)
        assert [entry.user_text for entry in snapshot.transcript] == [f"secret {number}"]


@given(st.text(max_size=12), st.text(max_size=12))
def test_different_ids_have_different_labels(first: str, second: str) -> None:
    """Different ids give different labels, and every label is one a store accepts."""
    labels = escape_label(first), escape_label(second)
    assert (labels[0] == labels[1]) == (first == second)
    assert all(label and label.isascii() and "." not in label for label in labels)


async def test_users_longest_unused_leave_memory_first(store: Kept) -> None:
    """They are read again when they come back, also between load and commit."""
    memory = opened(store, max_users=1)
    bob = AgentUser("lin", "bob")
    snapshot = await filled(memory, 3)
    await memory.load(bob)
    assert len(memory._known) == 1
    (found,) = await memory.retrieve(snapshot, "thing1", 1)
    assert found.entry.turn == 1
    await memory.load(bob)
    assert (await memory.commit(turn(3))).version == 4
    with pytest.raises(ConfigError, match="max_users"):
        opened(store, max_users=0)


async def test_many_turns_are_read_in_pages() -> None:
    """A store's own limit on a search does not cut a memory short."""
    file = LangGraphFile()
    memory = opened(file)
    await filled(memory, 7)
    reader = ConversationMemory(LangGraphBackend(file.store, page_items=3))
    assert [entry.turn for entry in (await reader.load(ANN)).transcript] == list(range(7))
    await memory.commit(turn(7))
    assert (await reader.load(ANN)).transcript[-1].turn == 7


async def test_a_snapshot_is_the_readers_own(memory: ConversationMemory) -> None:
    """Changing it, or what was committed, changes nothing that is remembered."""
    relationship = {"list": [1]}
    await memory.commit(turn(0, relationship=relationship))
    relationship["list"].append(2)
    snapshot = await memory.load(ANN)
    snapshot.relationship["list"].append(3)
    assert (await memory.load(ANN)).relationship == {"list": [1]}


async def test_any_text_is_remembered(memory: ConversationMemory, store: Kept) -> None:
    """Empty, huge, and half an emoji."""
    for number, text in enumerate(["", "长" * 100_000, "half \ud83d emoji"]):
        commit = turn(number, user_text=text, profile={"said": text[:9]})
        await memory.commit(commit)
    snapshot = await opened(store).load(ANN)
    assert [len(entry.user_text) for entry in snapshot.transcript] == [0, 100_000, 12]
    assert snapshot.profile == {"said": "half \ud83d em"}
    found = await memory.retrieve(snapshot, "emoji thing1", 3)
    assert [hit.entry.turn for hit in found][:2] == [2, 1]


async def test_a_full_disk_leaves_the_memory_as_it_was(tmp_path: Path) -> None:
    """After a refused commit the same turn can be committed when there is space."""
    with SqliteBackend(tmp_path / "memory.sqlite") as store:
        memory = ConversationMemory(store)
        await filled(memory, 1)
        connection = store._connection
        connection.execute("PRAGMA max_page_count = 1")
        big = turn(1, user_text="x" * 50_000)
        with pytest.raises(StoreFull):
            await memory.commit(big)
        assert (await memory.load(ANN)).version == 1
        connection.execute("PRAGMA max_page_count = 100000")
        assert (await memory.commit(big)).was_new


async def test_a_commit_is_one_transaction(tmp_path: Path) -> None:
    """A turn with notes and state is one batch of the store."""

    class CountingStore(InMemoryStore):
        """Remembers how many puts came in each batch."""

        puts: list[int] = []  # noqa: RUF012 - one store, one test

        async def abatch(self, ops):
            """Count, then do."""
            ops = list(ops)
            self.puts.append(sum(isinstance(op, PutOp) for op in ops))
            return await super().abatch(ops)

    store = CountingStore()
    memory = ConversationMemory(LangGraphBackend(store))
    await memory.commit(turn(0, notes=(NewNote("a", "thing0"), NewNote("b", "fine"))))
    assert [puts for puts in store.puts if puts] == [4]
