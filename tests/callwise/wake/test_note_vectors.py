"""Embeddings of notes: exact, of one model, stored with their note or not at all."""

import math
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.memory import Embedding
from callwise.memory.lexical_index import LexicalIndex
from callwise.memory.memory_errors import StoreFailed
from callwise.wake import OutgoingMessage, WakeStore, agent_notes
from callwise.wake.note_vectors import BLOCK_NOTES

Noted = tuple[str, tuple[float, ...] | None]


def vector_of(*numbers: float) -> Embedding:
    """Return an embedding of the model of these tests."""
    return Embedding("m", numbers)


def brute_force(
    notes: Sequence[Noted], query: str, limit: int, asked: Sequence[float] | None
) -> list[str]:
    """Return what a search finds, by plain loops over one agent's notes."""
    index = LexicalIndex()
    for text, _ in notes:
        index.add(text)
    scores = index.scores(query).tolist()
    by_words = sorted((p for p in range(len(notes)) if scores[p]), key=lambda p: (-scores[p], -p))
    rankings = [by_words]
    if asked is not None:
        cosines = {
            place: math.fsum(a * b for a, b in zip(vector, asked, strict=True))
            / math.hypot(*vector)
            / math.hypot(*asked)
            for place, (_, vector) in enumerate(notes)
            if vector is not None
        }
        near = sorted(cosines, key=lambda place: (-round(cosines[place], 5), -place))
        depth = max(limit, agent_notes.FUSED_NOTES)
        rankings = [by_words[:depth], near[:depth]]
    fused = dict.fromkeys(range(len(notes)), 0.0)
    for ranking in rankings:
        for rank, place in enumerate(ranking, 1):
            fused[place] += 1 / (60 + rank)
    order = sorted(fused, key=lambda place: (-fused[place], -place))
    return [notes[place][0] for place in order[:limit]]


# Halves of small whole numbers: cosines of two such vectors are equal or far apart.
VECTORS = st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 2.0])] * 3).filter(any)
NOTES = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.lists(st.sampled_from(["tea", "cat", "猫"]), max_size=3).map(" ".join),
        st.none() | VECTORS,
    ),
    max_size=3 * BLOCK_NOTES,
)


@example([("ann", "", (-1.0, 0.5, 2.0)), ("ann", "", (0.5, 2.0, -1.0))], "", 2, (0.5, 0.5, 0.5))
@given(NOTES, st.sampled_from(["", "tea", "cat tea 猫"]), st.integers(0, 9), st.none() | VECTORS)
def test_a_search_finds_what_plain_loops_find(
    notes: list[tuple[str, str, tuple[float, ...] | None]],
    query: str,
    limit: int,
    asked: tuple[float, ...] | None,
) -> None:
    """Of the agent alone, whatever was stored before, by which process, and whatever is kept."""
    with WakeStore(":memory:", max_kept_bytes=200) as store:
        own: dict[str, list[Noted]] = {"ann": [], "bob": []}
        for number, (agent, words, vector) in enumerate(notes):
            text = f"{number} {agent} {words}"
            embedding = None if vector is None else vector_of(*vector)
            store.notes.add(agent, text, at=1.0, embedding=embedding)
            own[agent].append((text, vector))
            if number % 7 == 0:
                store.notes.search(agent, query, limit=1)
        embedding = None if asked is None else vector_of(*asked)
        for agent, kept in own.items():
            found = store.notes.search(agent, query, limit=limit, embedding=embedding)
            assert found == brute_force(kept, query, limit, asked)


def test_many_notes_are_found_as_by_plain_loops(path: Path) -> None:
    """Several hundred of several agents in any order, over blocks, also after reopening."""
    chance = random.Random(3)
    own: dict[str, list[Noted]] = {name: [] for name in ("ann", "anna", "bob")}
    with WakeStore(path) as store:
        for number in range(600):
            agent = chance.choice([*own])
            vector = tuple(chance.gauss() for _ in range(8)) if chance.random() < 0.9 else None
            text = f"{number} " + " ".join(chance.choices(["tea", "cat", "sea", "fog", "sun"], k=3))
            embedding = None if vector is None else vector_of(*vector)
            store.notes.add(agent, text, at=1.0, embedding=embedding)
            own[agent].append((text, vector))
        with WakeStore(path) as other:
            for agent, notes in own.items():
                asked = tuple(chance.gauss() for _ in range(8))
                for each in (store, other):
                    found = each.notes.search(
                        agent, "tea fog", limit=150, embedding=vector_of(*asked)
                    )
                    assert found == brute_force(notes, "tea fog", 150, asked)


def test_no_query_finds_a_note_of_another_agent(store: WakeStore) -> None:
    """Not its own words and vector, and no name that is like the agent's."""
    names = ["ann", "Ann", "ann ", "ann%", "an_", "' OR 1=1 --", "*"]
    for place, name in enumerate(names):
        unit = [0.0] * len(names)
        unit[place] = 1.0
        store.notes.add(name, f"secret {place}", at=1.0, embedding=vector_of(*unit))
    for name in [*names, "stranger"]:
        for place in range(len(names)):
            unit = [0.0] * len(names)
            unit[place] = 1.0
            found = store.notes.search(name, f"secret {place}", limit=9, embedding=vector_of(*unit))
            assert found == ([f"secret {names.index(name)}"] if name in names else [])


def test_equal_vectors_come_newest_first(store: WakeStore) -> None:
    """Wherever they are: the same vector has the same cosine in each row."""
    chance = random.Random(5)
    one = vector_of(*(chance.gauss() for _ in range(37)))
    for number in range(50):
        store.notes.add("ann", f"note {number}", at=1.0, embedding=one)
    asked = vector_of(*(chance.gauss() for _ in range(37)))
    expected = [f"note {number}" for number in range(49, -1, -1)]
    assert store.notes.search("ann", "", limit=50, embedding=asked) == expected


def test_a_store_has_vectors_of_one_model(store: WakeStore) -> None:
    """Another model or number of dimensions is an error, and nothing is stored or lost."""
    store.notes.add("ann", "first", at=1.0, embedding=vector_of(1.0, 2.0))
    store.credits.hold("m1", "ann", 0)
    message = OutgoingMessage("m1", "main", "ann", "x", 7.0)
    others = {
        "of m with 2 dimensions, and this one is of n with 2": Embedding("n", (1.0, 2.0)),
        "of m with 2 dimensions, and this one is of m with 3": vector_of(1.0, 2.0, 3.0),
    }
    for problem, other in others.items():
        for attempt in (
            lambda each: store.notes.add("bob", "second", at=1.0, embedding=each),
            lambda each: store.notes.search("ann", "first", limit=1, embedding=each),
            lambda each: store.publish(message, notes=["a", "b"], embeddings=[None, each]),
            store.notes.accept,
        ):
            with pytest.raises(ConfigError, match=problem):
                attempt(other)
    assert store.notes.search("bob", "", limit=9) == []
    assert store.notes.search("ann", "", limit=9) == ["first"]
    assert not store.rooms.has_message("m1")
    assert store.publish(message, notes=["a", "b"], embeddings=[None, vector_of(2.0, 1.0)])
    assert store.notes.search("ann", "", limit=1, embedding=vector_of(2.0, 1.0)) == ["b"]


def test_the_first_embedding_decides_the_model(path: Path, store: WakeStore) -> None:
    """Also for other processes, before any note has one."""
    store.notes.accept(vector_of(1.0, 2.0))
    store.notes.accept(vector_of(2.0, 1.0))
    with WakeStore(path) as other, pytest.raises(ConfigError, match="this one is of n with 2"):
        other.notes.add("ann", "x", at=1.0, embedding=Embedding("n", (1.0, 2.0)))
    assert store.notes.search("ann", "", limit=9, embedding=vector_of(1.0, 2.0)) == []


def test_without_vectors_words_alone_rank(store: WakeStore) -> None:
    """An embedding of any model then changes nothing."""
    for text in ("tea", "cat"):
        store.notes.add("ann", text, at=1.0)
    assert store.notes.search("ann", "tea", limit=2, embedding=vector_of(1.0)) == ["tea", "cat"]


@pytest.mark.parametrize(
    "numbers", [(), (0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)], ids=["none", "0", "nan", "inf"]
)
def test_what_is_no_vector_is_refused(store: WakeStore, numbers: tuple[float, ...]) -> None:
    """With the note that it is of."""
    with pytest.raises(ConfigError, match="an embedding of m "):
        store.notes.add("ann", "x", at=1.0, embedding=vector_of(*numbers))
    with pytest.raises(ConfigError, match="an embedding of m "):
        store.notes.search("ann", "x", limit=1, embedding=vector_of(*numbers))
    with pytest.raises(ConfigError, match="the embedding model '' has 0 characters"):
        store.notes.accept(Embedding("", (1.0,)))
    store.credits.hold("m1", "ann", 0)
    message = OutgoingMessage("m1", "main", "ann", "x", 7.0)
    with pytest.raises(ConfigError, match="2 notes with 1 embeddings"):
        store.publish(message, notes=["a", "b"], embeddings=[None])
    assert store.notes.search("ann", "", limit=9) == []


def test_vectors_of_any_length_are_compared_by_direction(store: WakeStore) -> None:
    """Also where a square would be too large or too small for a number."""
    store.notes.add("ann", "large", at=1.0, embedding=vector_of(1e300, 0.0))
    store.notes.add("ann", "small", at=1.0, embedding=vector_of(0.0, 1e-300))
    assert store.notes.search("ann", "", limit=1, embedding=vector_of(1e-9, 0.0)) == ["large"]
    assert store.notes.search("ann", "", limit=1, embedding=vector_of(0.0, 1e200)) == ["small"]


@pytest.mark.parametrize("statement", ["UPDATE agent_vectors", "INSERT INTO agent_notes"])
def test_a_crash_leaves_no_note_without_its_vector(
    path: Path, store: WakeStore, statement: str
) -> None:
    """A copy of the files at any statement of a transaction has neither, or both."""
    store.notes.add("ann", "first", at=1.0, embedding=vector_of(1.0, 0.0))
    seen: list[tuple[int, ...]] = []

    def copied(text: str) -> None:
        if not text.startswith((statement, "COMMIT")):
            return
        folder = path.parent / f"copy{len(seen)}"
        folder.mkdir()
        for suffix in ("", "-wal"):
            part = Path(f"{path}{suffix}")
            (folder / part.name).write_bytes(part.read_bytes())
        with closing(sqlite3.connect(folder / path.name)) as other:
            notes = other.execute("SELECT count(*) FROM agent_notes").fetchone()
            blocks = other.execute("SELECT sum(length(places)) / 4 FROM agent_vectors").fetchone()
        seen.append((*notes, *blocks))

    connection = store._file._connection
    connection.set_trace_callback(copied)
    store.notes.add("ann", "second", at=1.0, embedding=vector_of(0.0, 1.0))
    connection.set_trace_callback(None)
    assert len(seen) >= 2
    assert set(seen) == {(1, 1)}
    with WakeStore(path) as other:
        for asked, expected in (((1.0, 0.0), "first"), ((0.0, 1.0), "second")):
            found = other.notes.search("ann", "", limit=1, embedding=vector_of(*asked))
            assert found == [expected]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE agent_vectors SET vectors = x'00000000'",
        "UPDATE agent_vectors SET vectors = x'000000'",
        "UPDATE agent_vectors SET places = x'000000'",
        "UPDATE agent_vectors SET places = x'0900000009000000'",
        "UPDATE agent_notes SET terms = x'000000'",
        "UPDATE agent_notes SET terms = x''",
        "DELETE FROM agent_notes WHERE place = 1",
    ],
)
def test_damaged_notes_are_an_error(path: Path, change: str) -> None:
    """It names the way out; the notes of other agents are found."""
    with WakeStore(path) as store:
        store.notes.add("bob", "y", at=1.0, embedding=vector_of(1.0, 2.0, 4.0))
        for number in range(2):
            store.notes.add("ann", f"{number}", at=1.0, embedding=vector_of(1.0, 2.0, number))
        connection = store._file._connection
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        where = "AND" if "WHERE" in change else "WHERE"
        connection.execute(f"{change} {where} agent = 'ann'")
        asked = vector_of(1.0, 2.0, 3.0)
        with pytest.raises(StoreFailed, match="notes in the store are damaged"):
            store.notes.search("ann", "x", limit=9, embedding=asked)
        assert store.notes.search("bob", "x", limit=9, embedding=asked) == ["y"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE agent_vectors SET agent = 'bob'",
        "UPDATE agent_vectors SET block = 7",
        "UPDATE agent_vectors SET vectors = zeroblob(8)",
        "UPDATE agent_vectors SET places = x'01000000'",
        "UPDATE agent_vectors SET vectors = x'', places = x''",
        "DELETE FROM agent_vectors",
        "UPDATE embedding_model SET model = 'n'",
        "DELETE FROM embedding_model",
    ],
)
def test_the_database_itself_refuses_to_change_vectors(store: WakeStore, change: str) -> None:
    """A block may only become longer."""
    store.notes.add("ann", "x", at=1.0, embedding=vector_of(1.0, 2.0))
    with pytest.raises(StoreFailed, match="append-only"), store._file.writing() as connection:
        connection.execute(change)
    assert store.notes.search("ann", "", limit=9, embedding=vector_of(1.0, 2.0)) == ["x"]
