"""Another program that locks the store for a long time."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from callwise.wake import OutgoingMessage, WakeStore, store_file

from .conftest import PASSES_SECONDS, event_of, lines_of


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a store in a file, whose readers are in a hurry."""
    monkeypatch.setattr(store_file, "HURRIED_SECONDS", 0.01)
    with WakeStore(tmp_path / "wake.sqlite", busy_timeout_seconds=PASSES_SECONDS) as opened:
        yield opened


@pytest.fixture
def other(store, tmp_path):
    """Return another program's connection to it."""
    with closing(sqlite3.connect(tmp_path / "wake.sqlite", isolation_level=None)) as connection:
        yield connection


async def ready(room, status):
    """Return once the room has a status of readiness."""
    async with asyncio.timeout(PASSES_SECONDS):
        while (found := await room.get("/ready", {}))[0] != status:
            pass
    return found[1]


async def test_a_locked_store_does_not_end_the_room(serve, store, other, caplog):
    """It is not ready, refuses messages, and goes on once the store is free."""
    room = await serve(store, poll_seconds=0.001)
    async with room.connected() as socket:
        await event_of(socket, "hello")
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in await ready(room, 503)
        assert (await room.get("/health", {}))[0] == 200
        status, refused = await room.say("now?")
        assert status == 503
        assert "locks the store" in refused["error"]
        assert (await room.post("/wake"))[0] == 503
        other.execute("ROLLBACK")
        await ready(room, 200)
        assert (await room.say("now?"))[0] == 202
        assert (await lines_of(socket, 1))[0]["text"] == "now?"
    assert caplog.text.count("another process locks the store") == 1


async def test_what_is_due_comes_once_the_store_is_free(serve, store, other, caplog):
    """Delivering is tried again, and that is one line of the log."""
    store.credits.hold("main:1:a", "a", 0)
    store.publish(OutgoingMessage("main:1:a", "main", "a", "late, and kept", 2.0))
    other.execute("BEGIN IMMEDIATE")
    room = await serve(store, poll_seconds=0.001)
    await ready(room, 503)
    async with asyncio.timeout(PASSES_SECONDS):
        while "messages wait" not in caplog.text:
            await room.get("/health", {})
    for _ in range(20):
        assert (await room.get("/health", {}))[0] == 200
    async with room.connected() as socket:
        await event_of(socket, "hello")
        assert not room.task.done()
        other.execute("ROLLBACK")
        assert (await lines_of(socket, 1))[0]["text"] == "late, and kept"
    assert caplog.text.count("messages wait") == 1


async def test_the_end_does_not_wait_for_a_locked_store(serve, store, other):
    """Neither for what clients have acknowledged nor for credits that are given back."""
    room = await serve(store, poll_seconds=0.001)
    other.execute("BEGIN IMMEDIATE")
    await ready(room, 503)
    room.host.acknowledgements.note("a-client", 0, last=0)
    await room.host.drain(0.0, reason="a test ended it")
    await asyncio.wait_for(room.task, PASSES_SECONDS / 2)
