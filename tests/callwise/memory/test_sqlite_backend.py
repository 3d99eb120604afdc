"""Memory in a SQLite file: whole transactions, several processes, and clear errors."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.memory import AgentUser
from callwise.memory.memory_errors import (
    MemoryConflict,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreLocked,
)
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.memory.stored_turns import StoredTurn

ANN = AgentUser("lin", "ann")
BOB = AgentUser("lin", None, "talk")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a memory's file."""
    return tmp_path / "memory.sqlite"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    """Return an open, empty backend."""
    with SqliteBackend(path) as opened:
        yield opened


def stored(version: int, text: str = "tea") -> StoredTurn:
    """Return a turn with a note."""
    return StoredTurn(version, {"user_text": text}, [{"text": f"likes {text}"}])


async def filled(backend: SqliteBackend, turns: int, agent_user: AgentUser = ANN) -> None:
    """Append some turns."""
    for version in range(1, turns + 1):
        await backend.append(agent_user, stored(version), {"version": version})


async def test_turns_outlive_the_process_that_stored_them(path: Path) -> None:
    """They are there when the file is opened again, and only the last state is kept."""
    with SqliteBackend(path) as backend:
        await filled(backend, 3)
        await filled(backend, 1, BOB)
        kept = backend._connection.execute("SELECT count(state) FROM turns").fetchone()
    assert kept == (2,)
    with SqliteBackend(path) as backend:
        assert await backend.turns(ANN, after=1, upto=3) == [stored(2), stored(3)]
        assert await backend.state(ANN) == {"version": 3}
        assert await backend.state(BOB) == {"version": 1}
        assert await backend.state(AgentUser("lin", "nora")) is None


async def test_any_text_is_stored(backend: SqliteBackend) -> None:
    """Emoji, line breaks, nulls and half an emoji come back as they went."""
    text = "a\x00b\n😀 \ud83d 值"
    await backend.append(ANN, stored(1, text), {"version": 1, "said": text})
    assert await backend.turns(ANN, after=0, upto=1) == [stored(1, text)]
    assert await backend.state(ANN) == {"version": 1, "said": text}


async def test_a_turn_that_is_no_json_leaves_nothing(backend: SqliteBackend) -> None:
    """Neither the turn nor the state is stored."""
    with pytest.raises(TypeError):
        await backend.append(ANN, stored(1), {"version": {1, 2}})
    assert await backend.state(ANN) is None


async def test_one_of_many_turns_on_a_version_wins(path: Path) -> None:
    """Of twenty that follow the same version exactly one is stored, from any connection."""
    with SqliteBackend(path) as first, SqliteBackend(path) as second:
        results = await asyncio.gather(
            *(
                (first, second)[number % 2].append(ANN, stored(1, str(number)), {"version": 1})
                for number in range(20)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, MemoryConflict) for result in results) == 19
        with pytest.raises(MemoryConflict) as conflict:
            await second.append(ANN, stored(5), {"version": 5})
        assert conflict.value.stored_version == 1
    assert [p.name for p in path.parent.iterdir()] == ["memory.sqlite"]


async def test_the_event_loop_is_never_blocked(backend: SqliteBackend) -> None:
    """No file is touched on the loop's own thread, as `langgraph dev` demands."""
    blockbuster = pytest.importorskip("blockbuster", reason="comes with langgraph-cli[inmem]")
    with blockbuster.blockbuster_ctx():
        await filled(backend, 1)
        assert await backend.turns(ANN, after=0, upto=1) == [stored(1)]


_KILLED_IN_THE_MIDDLE = """
import asyncio, os, signal, sys
from callwise.memory import AgentUser
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.memory.stored_turns import StoredTurn

backend, ann = SqliteBackend(sys.argv[1]), AgentUser("lin", "ann")

async def append(version, notes):
    turn = StoredTurn(version, {"user_text": "x" * 10_000}, notes)
    await backend.append(ann, turn, {"version": version})

asyncio.run(append(1, []))
steps = 0

def kill_in_the_middle():
    global steps
    steps += 1
    if steps == 20:
        os.kill(os.getpid(), signal.SIGKILL)

backend._connection.set_progress_handler(kill_in_the_middle, 1)
asyncio.run(append(2, [{"text": "y" * 100_000}]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_a_killed_process_leaves_whole_turns(path: Path) -> None:
    """`kill -9` in the middle of a commit leaves the turns before it, and none of it."""
    killed = subprocess.run(  # noqa: ASYNC221, S603 - our own program
        [sys.executable, "-c", _KILLED_IN_THE_MIDDLE, str(path)], check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    with SqliteBackend(path) as backend:
        assert await backend.state(ANN) == {"version": 1}
        assert len(await backend.turns(ANN, after=0, upto=1)) == 1


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """No folders are created."""
    with pytest.raises(ConfigError, match="folder does not exist"):
        SqliteBackend(tmp_path / "nowhere" / "memory.sqlite")


def test_a_folder_is_no_memory(tmp_path: Path) -> None:
    """A path that cannot be opened as a file is an error."""
    with pytest.raises(ConfigError, match="cannot open"):
        SqliteBackend(tmp_path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """Notes in a text file are not overwritten."""
    path.write_text("my shopping list, rather long so that it fills more than a header " * 40)
    before = path.read_bytes()
    with pytest.raises(FormatError, match="expected a SQLite database"):
        SqliteBackend(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """A database without our mark is not written to."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    with pytest.raises(FormatError, match="another program"):
        SqliteBackend(path)


def test_another_version_is_refused(path: Path) -> None:
    """Both versions are named."""
    with SqliteBackend(path) as backend:
        backend._connection.execute("PRAGMA user_version = 7")
    with pytest.raises(FormatError, match="of version 2, found version 7"):
        SqliteBackend(path)


async def test_a_full_disk_commits_nothing(backend: SqliteBackend) -> None:
    """Stored turns stay readable, and the commit succeeds once there is space."""
    await filled(backend, 1)
    connection = backend._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = stored(2, "x" * 40_000)
    with pytest.raises(StoreFull, match=r"disk is full\. Nothing was committed"):
        await backend.append(ANN, big, {"version": 2})
    assert await backend.state(ANN) == {"version": 1}
    connection.execute("PRAGMA max_page_count = 100000")
    await backend.append(ANN, big, {"version": 2})
    assert await backend.turns(ANN, after=1, upto=2) == [big]


async def test_a_lock_held_too_long_is_an_error(path: Path) -> None:
    """Reading goes on next to another writer; writing gives up after the timeout."""
    with SqliteBackend(path, busy_timeout_seconds=0.01) as backend:
        await filled(backend, 1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match="locked by another process"):
            await backend.append(ANN, stored(2), {"version": 2})
        assert await backend.state(ANN) == {"version": 1}
        other.execute("ROLLBACK")
        other.close()
        await backend.append(ANN, stored(2), {"version": 2})


async def test_a_damaged_turn_is_named(backend: SqliteBackend) -> None:
    """A turn or a state that is no JSON object any more is an error with its owner."""
    await filled(backend, 2)
    backend._connection.execute("UPDATE turns SET turn = x'7b22', state = x'5b5d'")
    with pytest.raises(StoreDamaged, match="version 1 of the memory of agent 'lin'"):
        await backend.turns(ANN, after=0, upto=2)
    with pytest.raises(StoreDamaged, match="version 2 of the memory of agent 'lin'"):
        await backend.state(ANN)


async def test_a_closed_backend_raises_a_clear_error(path: Path) -> None:
    """Closing twice is fine; using it afterwards is not."""
    backend = SqliteBackend(path)
    backend.close()
    backend.close()
    with pytest.raises(StoreFailed, match="closed"):
        await backend.state(ANN)


def _version_1(path: Path, items: list[tuple[str, str, dict[str, object]]]) -> None:
    """Write a file as version 1 did: a LangGraph store's items."""
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE items (place INTEGER PRIMARY KEY, namespace TEXT NOT NULL, key TEXT NOT NULL,"
        " value BLOB NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,"
        " UNIQUE (namespace, key)) STRICT"
    )
    for namespace, key, value in items:
        connection.execute(
            "INSERT INTO items (namespace, key, value, created_at, updated_at) VALUES (?,?,?,?,?)",
            (namespace, key, json.dumps(value).encode(), "", ""),
        )
    connection.execute(f"PRAGMA application_id = {0x7475726E}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()


VERSION_1 = [
    (f"callwise.lin.{owner}.{kind}", key, value)
    for owner in ("ann", "~talk")
    for kind, key, value in (
        ("transcript", "000000000001", {"user_text": "tea", "note_count": 0}),
        ("transcript", "000000000002", {"user_text": "more", "note_count": 1}),
        ("notes", "000000000002-000", {"text": "likes tea"}),
        ("transcript", "000000000003", {"user_text": "half a turn", "note_count": 1}),
        ("state", "state", {"version": 2, "summary": None}),
    )
]


async def test_a_file_of_version_1_is_converted_once(path: Path) -> None:
    """Its turns, notes and states are there; half a turn, which it did not show, is not."""
    _version_1(path, VERSION_1)
    for _ in range(2):
        with SqliteBackend(path) as backend:
            for owner in (ANN, BOB):
                turns = await backend.turns(owner, after=0, upto=2)
                assert [turn.entry["user_text"] for turn in turns] == ["tea", "more"]
                assert turns[1].notes == [{"text": "likes tea"}]
                assert (await backend.state(owner))["version"] == 2
            (tables,) = backend._connection.execute("SELECT name FROM sqlite_master").fetchall()
            assert tables == ("turns",)


def test_a_file_that_cannot_be_converted_is_left_as_it_was(path: Path) -> None:
    """A hole in it is named, and nothing is lost."""
    _version_1(path, [item for item in VERSION_1 if item[2].get("user_text") != "tea"])
    with pytest.raises(StoreDamaged, match="turn 1 of 2 of agent 'lin'"):
        SqliteBackend(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM items").fetchone() == (8,)
    connection.close()
