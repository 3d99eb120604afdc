"""The store's file: whole transactions, several processes, and clear errors."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callwise.calls.errors import CallwiseError, ConfigError, FormatError
from callwise.memory.memory_errors import StoreDamaged, StoreFailed, StoreFull, StoreLocked
from callwise.wake import OutgoingMessage, WakeStore
from callwise.wake.store_file import SCHEMA_VERSION

REPOSITORY = Path(__file__).parents[3]
MESSAGE = OutgoingMessage("m1", "main", "ann", "tea?", 1.0)


def test_a_file_is_for_its_owner_alone(path: Path) -> None:
    """Chats are private, also in SQLite's own files next to it."""
    before = os.umask(0)
    try:
        with WakeStore(path) as store:
            store.credits.grant("ann", 1, transfer_id="first")
            modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys([path.name, f"{path.name}-shm", f"{path.name}-wal"], 0o600)


def test_two_stores_on_one_file_see_each_other(path: Path, store: WakeStore) -> None:
    """What one has committed, the other reads, and what is taken is gone for both."""
    with WakeStore(str(path)) as other:
        store.credits.grant("ann", 1, transfer_id="first")
        assert other.credits.hold("m1", "ann", 1)
        assert not store.credits.hold("m2", "ann", 1)
        assert store.publish(MESSAGE)
        assert not other.publish(MESSAGE)
        assert [each.id for each in other.rooms.deliver_due(1.0)] == ["m1"]
        assert store.rooms.deliver_due(1.0) == []


def test_notes_for_another_memory_wait_from_the_message_on(store: WakeStore) -> None:
    """In its transaction, under its id, half characters kept; none where it was not published."""
    store.credits.grant("ann", 2, transfer_id="first")
    with pytest.raises(StoreFailed):
        store.publish(MESSAGE, notes=["a"], do_notes_wait=True)
    assert store.waiting.count() == 0
    store.credits.hold("m1", "ann", 1)
    texts = ("half \ud83d", "null \x00")
    assert store.publish(MESSAGE, notes=texts, do_notes_wait=True)
    assert not store.publish(MESSAGE, notes=texts, do_notes_wait=True)
    (waiting,) = store.waiting.oldest(limit=9)
    assert (waiting.agent, waiting.key, waiting.texts) == ("ann", "m1", texts)
    assert store.notes.search("ann", "", limit=9) == []
    store.waiting.remove("ann", "m1")
    store.waiting.remove("ann", "m1")
    assert store.waiting.count() == 0


@pytest.mark.parametrize("texts", ["no json", "{}", "[1]"])
def test_damaged_notes_that_wait_are_named(store: WakeStore, texts: str) -> None:
    """As other damage of the file is."""
    with store._file.writing() as connection:
        connection.execute(
            "INSERT INTO waiting_notes (agent, key, at, texts) VALUES ('a', 'k', 1.0, ?)", (texts,)
        )
    with pytest.raises(StoreDamaged, match="waiting notes in the store"):
        store.waiting.oldest(limit=1)


def test_a_store_may_be_in_memory_only() -> None:
    """Each is another one, and no file is made."""
    with WakeStore(":memory:") as store, WakeStore(":memory:") as other:
        store.credits.grant("ann", 1, transfer_id="first")
        assert (store.credits.balance("ann"), other.credits.balance("ann")) == (1, 0)
    assert not Path(":memory:").exists()


def test_a_commit_may_wait_for_the_disk(path: Path) -> None:
    """SQLite's `synchronous` is FULL then, and NORMAL otherwise."""
    for durable, level in ((True, 2), (False, 1)):
        with WakeStore(path, durable=durable) as store:
            found = store._file._connection.execute("PRAGMA synchronous").fetchone()
        assert found == (level,)


def test_a_message_that_cannot_be_stored_is_not_paid(store: WakeStore) -> None:
    """Message, payment and notes are stored together or not at all."""
    store.credits.grant("ann", 1, transfer_id="first")
    store.credits.hold("m1", "ann", 1)
    for notes in (["likes tea", None], ["likes tea", 5]):
        with pytest.raises(AttributeError):
            store.publish(MESSAGE, notes=notes)  # type: ignore[arg-type]
    assert store.credits.open_holds() == ["m1"]
    assert not store.rooms.has_message("m1")
    assert store.notes.search("ann", "", limit=9) == []
    assert store.publish(MESSAGE, notes=["likes tea"])


def test_a_full_disk_commits_nothing(store: WakeStore) -> None:
    """What is stored stays readable, and the commit succeeds once there is space."""
    store.credits.grant("ann", 1, transfer_id="first")
    store.credits.hold("m1", "ann", 1)
    connection = store._file._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreFull, match=r"disk is full\. Nothing was committed"):
        store.publish(MESSAGE, notes=["x" * 40_000])
    assert store.credits.open_holds() == ["m1"]
    connection.execute("PRAGMA max_page_count = 100000")
    assert store.publish(MESSAGE, notes=["x" * 40_000])


def test_a_lock_of_another_process_is_waited_for(path: Path, store: WakeStore) -> None:
    """A writer that finds the file locked goes on when it is free."""
    is_waiting = threading.Event()

    def notice(statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            is_waiting.set()

    store._file._connection.set_trace_callback(notice)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(
            target=store.credits.grant, args=("ann", 1), kwargs={"transfer_id": "first"}
        )
        writer.start()
        assert is_waiting.wait(60)
        assert writer.is_alive()
        other.execute("COMMIT")
        writer.join(60)
    assert store.credits.balance("ann") == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 86_401.0])
def test_a_wait_that_cannot_be_is_refused(path: Path, seconds: float) -> None:
    """No file is made."""
    with pytest.raises(ConfigError, match="busy_timeout_seconds is above 0"):
        WakeStore(path, busy_timeout_seconds=seconds)
    assert not path.exists()


def test_a_lock_that_stays_too_long_is_an_error(path: Path) -> None:
    """Reading goes on; writing gives up after the timeout, and succeeds when it is free."""
    with WakeStore(path, busy_timeout_seconds=0.01) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreLocked, match="locked by another process"):
                store.credits.grant("ann", 1, transfer_id="first")
            assert store.credits.balance("ann") == 0
            other.execute("ROLLBACK")
        assert store.credits.grant("ann", 1, transfer_id="first")


_MAKER = """
import sys
from callwise.wake import WakeStore
sys.stdin.readline()
for path in sys.argv[1:]:
    with WakeStore(path) as store:
        assert store.claims.take_quota("intent", "today", 4)
"""


@pytest.mark.slow
def test_several_processes_may_make_the_file(tmp_path: Path) -> None:
    """Four begin with the same thirty files, none of which is there."""
    paths = [str(tmp_path / f"{number}.sqlite") for number in range(30)]
    processes = [
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _MAKER, *paths], stdin=subprocess.PIPE, cwd=REPOSITORY
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 4
    for path in paths:
        with WakeStore(path) as store:
            assert store.claims.quota_left("intent", "today", 4) == 0


def _text(path: Path) -> None:
    path.write_text("my shopping list, rather long so that it fills more than a header " * 40)


def _other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")


def _marked_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("PRAGMA application_id = 7")


def _of_version(path: Path, version: int) -> None:
    WakeStore(path).close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(f"PRAGMA user_version = {version}")


def _earlier_version(path: Path) -> None:
    _of_version(path, SCHEMA_VERSION - 1)


def _later_version(path: Path) -> None:
    _of_version(path, SCHEMA_VERSION + 1)


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (_text, "expected a SQLite database of awake agents"),
        (_other_database, "this is a database of another program. Choose another file"),
        (_marked_database, "this is a database of another program. Choose another file"),
        (_earlier_version, "expected a store of version 3, found version 2"),
        (_later_version, "expected a store of version 3, found version 4"),
    ],
)
def test_another_file_is_left_alone(path: Path, made: Callable[[Path], None], problem: str) -> None:
    """A text, databases of other programs, and stores of other versions."""
    made(path)
    before = path.read_bytes()
    with pytest.raises(FormatError, match=problem):
        WakeStore(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    """Neither is a file in a folder that is not there, nor a name with a null."""
    for wrong, problem in (
        (tmp_path, "cannot open the store"),
        (tmp_path / "nowhere" / "wake.sqlite", "its folder does not exist"),
        (tmp_path / "nul\x00nul", r"cannot open the store '.*nul\\x00nul'"),
    ):
        with pytest.raises(ConfigError, match=problem):
            WakeStore(wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """Return a folder that any user may read and its owner alone may write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.name == "nt", reason="permissions are others")
@pytest.mark.parametrize("is_new", [False, True])
def test_a_file_that_may_not_be_written_is_an_error(locked_folder: Path, is_new: bool) -> None:
    """The error names the file and what to do; the file is left as it was."""
    path = locked_folder / "wake.sqlite"
    WakeStore(path).close()
    path.chmod(0o444)
    before = path.read_bytes()
    locked_folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(ConfigError, match=r"cannot (open|write) the store"):
            WakeStore(locked_folder / "new.sqlite" if is_new else path)
    finally:
        os.seteuid(user)
        locked_folder.chmod(0o755)
    assert path.read_bytes() == before
    assert [each.name for each in locked_folder.iterdir()] == [path.name]


def test_a_damaged_file_is_an_error(path: Path) -> None:
    """Pages that another program has overwritten are found when they are read."""
    with WakeStore(path) as store:
        for number in range(200):
            store.rooms.say("main", "eve", "x" * 500, id=f"p{number}", at=1.0)
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * len(data[8192:])
    path.write_bytes(data)
    with (
        pytest.raises((StoreDamaged, FormatError), match="Restore the file from a copy"),
        WakeStore(path) as store,
    ):
        store.rooms.messages("main")


def test_a_closed_store_raises_a_clear_error(path: Path) -> None:
    """Closing twice is fine; using it afterwards is not."""
    store = WakeStore(path)
    store.close()
    store.close()
    for call in (
        lambda: store.credits.balance("ann"),
        lambda: store.publish(MESSAGE),
        lambda: store.claims.claim_slot("main", 1),
    ):
        with pytest.raises(StoreFailed, match="closed database") as raised:
            call()
        assert isinstance(raised.value, CallwiseError)
