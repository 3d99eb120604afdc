"""Notes of agents: found by words, and by no other agent."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreFailed
from callwise.wake import OutgoingMessage, WakeStore


def test_the_best_notes_come_first(store: WakeStore) -> None:
    """Those with a word of the query, then the newest ones."""
    for number, text in enumerate(["likes tea", "has a cat", "green tea, no milk tea", "is tired"]):
        store.notes.add("ann", text, at=float(number))
    assert store.notes.search("ann", "tea", limit=3) == [
        "green tea, no milk tea",
        "likes tea",
        "is tired",
    ]
    assert store.notes.search("ann", "", limit=2) == ["is tired", "green tea, no milk tea"]
    assert store.notes.search("ann", "tea", limit=0) == []


def test_equal_notes_come_newest_first(store: WakeStore) -> None:
    """Of notes that match as well, the last is the first."""
    for text in ("tea in May", "tea in June", "tea in July"):
        store.notes.add("ann", text, at=1.0)
    assert store.notes.search("ann", "tea", limit=2) == ["tea in July", "tea in June"]


def test_an_agent_finds_its_own_notes_only(store: WakeStore, odd_name: str) -> None:
    """Whatever its name is, and whatever another agent's name begins with."""
    secrets = {"ann": "secret one", "anna": "secret two", odd_name: "secret three", "%": "four"}
    for agent, text in secrets.items():
        store.notes.add(agent, text, at=1.0)
    for agent, text in secrets.items():
        assert store.notes.search(agent, "secret", limit=9) == [text]
    assert store.notes.search("stranger", "secret", limit=9) == []


@given(
    st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.text(max_size=12)), max_size=20),
    st.text(max_size=12),
    st.integers(0, 5),
)
def test_notes_are_never_mixed_or_lost(
    notes: list[tuple[str, str]], query: str, limit: int
) -> None:
    """Any texts in any order: all of an agent's notes are found, and none of another's."""
    with WakeStore(":memory:") as store:
        for agent, text in notes:
            store.notes.add(agent, f"{agent} {text}", at=1.0)
        for agent in ("ann", "bob"):
            own = [f"{agent} {text}" for each, text in notes if each == agent]
            assert sorted(store.notes.search(agent, query, limit=99)) == sorted(own)
            assert len(store.notes.search(agent, query, limit=limit)) == min(limit, len(own))


def test_notes_of_a_message_are_stored_with_it(store: WakeStore) -> None:
    """Once: a message that is published again brings no notes."""
    store.credits.hold("m1", "ann", 0)
    for _ in range(2):
        store.publish(OutgoingMessage("m1", "main", "ann", "x", 7.0), notes=["one", "two"])
    assert store.notes.search("ann", "", limit=9) == ["two", "one"]
    rows = store._file._connection.execute("SELECT agent, place, at FROM agent_notes").fetchall()
    assert rows == [("ann", 0, 7.0), ("ann", 1, 7.0)]


def test_what_is_in_memory_has_what_another_process_adds(path) -> None:
    """The terms of an agent grow, and no more bytes are kept than the limit."""
    with WakeStore(path, max_kept_bytes=120) as store, WakeStore(path) as other:
        for number in range(6):
            for agent in ("ann", "bob", "eve"):
                other.notes.add(agent, f"{agent} {number}", at=1.0)
                expected = [f"{agent} {each}" for each in range(number, -1, -1)]
                assert store.notes.search(agent, "", limit=9) == expected
                assert store.notes.search(agent, f"{agent} 0", limit=1) == [f"{agent} 0"]
                kept = [each.bytes for each in store.notes._kept.values()]
                assert store.notes.kept_bytes == sum(kept) <= 120
        assert list(store.notes._kept) == ["eve"]


def test_agents_with_few_notes_are_not_kept(path) -> None:
    """However many they are; what they have is read again."""
    with WakeStore(path) as store:
        for number in range(50):
            store.notes.add(f"a{number}", "tea", at=1.0)
            assert store.notes.search(f"a{number}", "tea", limit=1) == ["tea"]
        assert store.notes.kept_bytes == 0
        store.notes.add("a7", "cat " * 2_000, at=1.0)
        assert store.notes.search("a7", "tea", limit=1) == ["tea"]
        assert store.notes.kept_bytes == 4 * (2 + 2_001)


def test_bad_notes_are_refused(store: WakeStore, bad_name: str) -> None:
    """A bad name, a time that is not finite, a limit below 0."""
    with pytest.raises(ConfigError):
        store.notes.add(bad_name, "x", at=1.0)
    with pytest.raises(ConfigError):
        store.notes.search(bad_name, "x", limit=1)
    with pytest.raises(ConfigError, match="the time of a note is nan"):
        store.notes.add("ann", "x", at=math.nan)
    with pytest.raises(ConfigError, match="the limit of notes: -1"):
        store.notes.search("ann", "x", limit=-1)
    assert store.notes.search("ann", "", limit=9) == []


@pytest.mark.parametrize(
    "change", ["UPDATE agent_notes SET agent = 'bob'", "DELETE FROM agent_notes"]
)
def test_the_database_itself_refuses_to_change_notes(store: WakeStore, change: str) -> None:
    """Not even the agent of a note can be changed."""
    store.notes.add("ann", "x", at=1.0)
    with pytest.raises(StoreFailed, match="append-only"), store._file.writing() as connection:
        connection.execute(change)
    assert store.notes.search("ann", "", limit=9) == ["x"]
