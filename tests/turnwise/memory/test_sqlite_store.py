"""The SQLite store: LangGraph's semantics, whole transactions, and errors in plain words."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.memory.errors import (
    StoreChanged,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreLocked,
)
from turnwise.memory.sqlite_store import SqliteMemoryStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a store's file goes."""
    return tmp_path / "memory.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteMemoryStore]:
    """Return an open, empty store."""
    with SqliteMemoryStore(path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "in memory"])
def any_store(request: pytest.FixtureRequest, path: Path) -> Iterator[BaseStore]:
    """Return ours and LangGraph's own, which must behave alike."""
    if request.param == "in memory":
        yield InMemoryStore()
        return
    with SqliteMemoryStore(path) as opened:
        yield opened


class TestLikeLangGraphsOwn:
    """What any LangGraph store does."""

    def test_items_are_put_got_and_deleted(self, any_store: BaseStore) -> None:
        """An item is there until it is deleted, with its latest value."""
        any_store.put(("a", "b"), "k", {"n": 1})
        any_store.put(("a", "b"), "k", {"n": 2, "deep": {"list": [1, None, "x"]}})
        item = any_store.get(("a", "b"), "k")
        assert item is not None
        assert item.value == {"n": 2, "deep": {"list": [1, None, "x"]}}
        assert (item.namespace, item.key) == (("a", "b"), "k")
        any_store.delete(("a", "b"), "k")
        assert any_store.get(("a", "b"), "k") is None

    def test_a_search_goes_below_its_prefix(self, any_store: BaseStore) -> None:
        """Namespaces below a prefix are found, and those that only begin alike are not."""
        for namespace in (("a",), ("a", "b"), ("a", "bc"), ("ab",), ("b",)):
            any_store.put(namespace, "k", {"at": list(namespace)})
        assert [i.namespace for i in any_store.search(("a",))] == [("a",), ("a", "b"), ("a", "bc")]
        assert [i.namespace for i in any_store.search(("a", "b"))] == [("a", "b")]
        assert len(any_store.search((), limit=99)) == 5

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ({"kind": "cat"}, [0, 2, 4]),
            ({"age": {"$gt": 2}}, [3, 4]),
            ({"age": {"$gte": 2, "$lt": 4}}, [2, 3]),
            ({"age": {"$lte": 0}}, [0]),
            ({"kind": {"$ne": "cat"}}, [1, 3]),
            ({"kind": {"$eq": "cat"}, "age": 2}, [2]),
            ({"home": {"town": "t1"}}, [1]),
            ({"tags": ["x", 3]}, [3]),
        ],
    )
    def test_filters(
        self, any_store: BaseStore, wanted: dict[str, object], found: list[int]
    ) -> None:
        """Equality and orderings, alone and together, outside and inside."""
        for n in range(5):
            kind = "dog" if n % 2 else "cat"
            value = {"age": n, "kind": kind, "home": {"town": f"t{n}"}, "tags": ["x", n]}
            any_store.put(("pets",), str(n), value)
        assert [item.value["age"] for item in any_store.search(("pets",), filter=wanted)] == found

    def test_an_unknown_operator_is_an_error(self, any_store: BaseStore) -> None:
        """A misspelt operator does not pass for a value."""
        any_store.put(("a",), "k", {"n": 1})
        with pytest.raises(ValueError, match=r"\$near"):
            any_store.search(("a",), filter={"n": {"$near": 1}})

    def test_pages(self, any_store: BaseStore) -> None:
        """Limit and offset cut the same list, with and without a filter."""
        for n in range(7):
            any_store.put(("a",), str(n), {"n": n, "even": n % 2 == 0})
        page = any_store.search(("a",), limit=3, offset=2)
        assert [item.key for item in page] == ["2", "3", "4"]
        page = any_store.search(("a",), filter={"even": True}, limit=2, offset=1)
        assert [item.key for item in page] == ["2", "4"]
        assert any_store.search(("a",), offset=9) == []

    def test_namespaces_are_listed(self, any_store: BaseStore) -> None:
        """By prefix, suffix, wildcard and depth."""
        for namespace in (("u", "1", "notes"), ("u", "2", "notes"), ("u", "2", "state"), ("v",)):
            any_store.put(namespace, "k", {})
        assert any_store.list_namespaces() == [
            ("u", "1", "notes"),
            ("u", "2", "notes"),
            ("u", "2", "state"),
            ("v",),
        ]
        assert any_store.list_namespaces(prefix=("u", "*", "state")) == [("u", "2", "state")]
        assert any_store.list_namespaces(suffix=("notes",), limit=1) == [("u", "1", "notes")]
        assert any_store.list_namespaces(max_depth=2) == [("u", "1"), ("u", "2"), ("v",)]

    def test_reads_in_a_batch_see_what_was_there_before(self, any_store: BaseStore) -> None:
        """Whatever the order in the batch; and the last put to a key holds."""
        any_store.put(("a",), "k", {"n": 1})
        put, get = PutOp(("a",), "k", {"n": 2}), GetOp(("a",), "k")
        results = any_store.batch([put, get, PutOp(("a",), "k", {"n": 3}), SearchOp(("a",))])
        assert results[1].value == {"n": 1}
        assert [item.value for item in results[3]] == [{"n": 1}]
        assert any_store.get(("a",), "k").value == {"n": 3}

    async def test_async_methods_do_the_same(self, any_store: BaseStore) -> None:
        """The async side is the same store."""
        await any_store.aput(("a",), "k", {"n": 1})
        assert (await any_store.aget(("a",), "k")).value == {"n": 1}
        assert len(await any_store.asearch(("a",))) == 1


def test_items_outlive_the_process_that_put_them(path: Path) -> None:
    """What was put is there when the file is opened again, with its times."""
    clock = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)])
    with SqliteMemoryStore(path, now=lambda: next(clock)) as store:
        store.put(("a",), "k", {"text": "早"})
        store.put(("a",), "k", {"text": "晚"})
    with SqliteMemoryStore(path) as store:
        item = store.get(("a",), "k")
    assert item.value == {"text": "晚"}
    assert (item.created_at.day, item.updated_at.day) == (1, 2)


def test_any_text_is_kept(store: SqliteMemoryStore) -> None:
    """Emoji, line breaks, nulls and half an emoji come back as they went."""
    value = {"text": "a\x00b\n😀 \ud83d", "名": "值"}
    store.put(("a",), "k", value)
    assert store.get(("a",), "k").value == value


def test_a_query_ranks(store: SqliteMemoryStore) -> None:
    """A search with words returns what matches first, and says how well."""
    for key, text in (("1", "I like tea"), ("2", "we saw a cat"), ("3", "the cat drank tea")):
        store.put(("a",), key, {"text": text})
    found = store.search(("a",), query="cat and tea", limit=2)
    assert found[0].key == "3"
    assert found[0].score > 0
    assert store.search(("a",), query="zebra")[0].score is None


@pytest.mark.parametrize("namespace", [(), ("a", ""), ("a.b",), ("a", 3)])
def test_a_broken_namespace_is_refused(
    store: SqliteMemoryStore, namespace: tuple[str, ...]
) -> None:
    """Also where a batch goes past LangGraph's own check."""
    with pytest.raises(InvalidNamespaceError):
        store.batch([PutOp(namespace, "k", {})])


def test_a_batch_that_fails_leaves_nothing(store: SqliteMemoryStore) -> None:
    """One value that is no JSON, or one bad read, and none of the batch is kept."""
    with pytest.raises(TypeError):
        store.batch([PutOp(("a",), "1", {"n": 1}), PutOp(("a",), "2", {"n": {1, 2}})])
    store.put(("b",), "1", {"n": 1})
    with pytest.raises(ValueError, match="operator"):
        store.batch([PutOp(("a",), "1", {"n": 1}), SearchOp(("b",), filter={"n": {"$x": 1}})])
    assert store.get(("a",), "1") is None


def test_a_conditional_batch_is_done_or_not(store: SqliteMemoryStore) -> None:
    """The condition and the writes are one transaction."""
    where = {"namespace": ("s",), "key": "k", "field": "version"}
    store.batch_if([PutOp(("s",), "k", {"version": 1})], **where, equals=None)
    with pytest.raises(StoreChanged) as changed:
        store.batch_if([PutOp(("s",), "k", {"version": 9})], **where, equals=0)
    assert changed.value.found == 1
    store.batch_if([PutOp(("s",), "k", {"version": 2})], **where, equals=1)
    assert store.get(("s",), "k").value == {"version": 2}


async def test_one_of_many_conditional_batches_wins(store: SqliteMemoryStore) -> None:
    """Of twenty that stand on the same version exactly one is done."""
    where = {"namespace": ("s",), "key": "k", "field": "version"}
    results = await asyncio.gather(
        *(
            store.abatch_if([PutOp(("s",), "k", {"version": 1, "by": n})], **where, equals=None)
            for n in range(20)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, StoreChanged) for result in results) == 19


async def test_the_event_loop_is_never_blocked(store: SqliteMemoryStore) -> None:
    """No file is touched on the loop's own thread, as `langgraph dev` demands."""
    blockbuster = pytest.importorskip("blockbuster", reason="comes with langgraph-cli[inmem]")
    with blockbuster.blockbuster_ctx():
        await store.aput(("a",), "k", {"n": 1})
        assert (await store.aget(("a",), "k")).value == {"n": 1}


_KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from langgraph.store.base import PutOp
from turnwise.memory.sqlite_store import SqliteMemoryStore

store = SqliteMemoryStore(sys.argv[1])
store.batch([PutOp(("whole",), str(n), {"n": n}) for n in range(200)])
steps = 0

def kill_in_the_middle():
    global steps
    steps += 1
    if steps == 20:
        os.kill(os.getpid(), signal.SIGKILL)

store._file._connection.set_progress_handler(kill_in_the_middle, 100)
store.batch([PutOp(("half",), str(n), {"n": n}) for n in range(200)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_leaves_whole_batches(path: Path) -> None:
    """`kill -9` in the middle of a batch leaves the batches before it, and none of it."""
    killed = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _KILLED_IN_THE_MIDDLE, str(path)], check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    with SqliteMemoryStore(path) as store:
        assert len(store.search(("whole",), limit=999)) == 200
        assert store.search(("half",), limit=999) == []


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """No folders are made behind the user's back."""
    with pytest.raises(ConfigError, match="folder does not exist"):
        SqliteMemoryStore(tmp_path / "nowhere" / "memory.sqlite")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    """A path that cannot be opened as a file is said."""
    with pytest.raises(ConfigError, match="cannot open"):
        SqliteMemoryStore(tmp_path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """Notes in a text file are not overwritten."""
    path.write_text("my shopping list, rather long so that it fills more than a header " * 40)
    before = path.read_bytes()
    with pytest.raises(FormatError, match="expected a SQLite database"):
        SqliteMemoryStore(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """A database without our mark is not written to."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    with pytest.raises(FormatError, match="another program"):
        SqliteMemoryStore(path)


def test_another_version_is_refused(path: Path) -> None:
    """Both versions are named."""
    with SqliteMemoryStore(path) as store:
        store._file._connection.execute("PRAGMA user_version = 7")
    with pytest.raises(FormatError, match="of version 1, found version 7"):
        SqliteMemoryStore(path)


def test_a_full_disk_commits_nothing(store: SqliteMemoryStore) -> None:
    """What was there stays readable, and room made later is used."""
    store.put(("a",), "before", {"n": 1})
    connection = store._file._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    ops = [PutOp(("a",), f"big{n}", {"text": "x" * 4000}) for n in range(9)]
    with pytest.raises(StoreFull, match=r"disk is full\. Nothing was committed"):
        store.batch(ops)
    assert [item.key for item in store.search(("a",))] == ["before"]
    connection.execute("PRAGMA max_page_count = 100000")
    store.batch(ops)
    assert len(store.search(("a",), limit=99)) == 10


def test_a_lock_held_too_long_is_said(path: Path) -> None:
    """Reading goes on beside another writer; writing gives up after the timeout."""
    with SqliteMemoryStore(path, busy_timeout_seconds=0.01) as store:
        store.put(("a",), "k", {"n": 1})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match="locked by another process"):
            store.put(("a",), "k", {"n": 2})
        assert store.get(("a",), "k").value == {"n": 1}
        other.execute("ROLLBACK")
        other.close()
        store.put(("a",), "k", {"n": 2})


def test_a_damaged_item_is_named(store: SqliteMemoryStore) -> None:
    """An item that is no JSON object any more is an error with its key."""
    store.put(("a",), "k", {"n": 1})
    store._file._connection.execute("UPDATE items SET value = x'7b22'")
    with pytest.raises(StoreDamaged, match="'k' in 'a'"):
        store.get(("a",), "k")


def test_a_closed_store_says_so(path: Path) -> None:
    """Closing twice is fine; using it afterwards is not."""
    store = SqliteMemoryStore(path)
    store.close()
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.get(("a",), "k")


def test_two_stores_on_one_file_see_each_other(path: Path) -> None:
    """As two processes would."""
    with SqliteMemoryStore(path) as first, SqliteMemoryStore(path) as second:
        first.put(("a",), "k", {"n": 1})
        assert second.get(("a",), "k").value == {"n": 1}
        second.delete(("a",), "k")
        assert first.get(("a",), "k") is None
    assert [p.name for p in path.parent.iterdir()] == ["memory.sqlite"]


def test_a_match_by_neither_end_is_refused(store: SqliteMemoryStore) -> None:
    """A match type that LangGraph does not have is an error."""
    store.put(("a",), "k", {})
    with pytest.raises(ValueError, match="prefix or suffix"):
        store.batch([ListNamespacesOp((MatchCondition("infix", ("a",)),))])
