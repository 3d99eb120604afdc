"""Numbers that clients acknowledge over the websocket, and where those that come back begin."""

import asyncio
import os
import re
import subprocess
import sys

import aiohttp
import pytest

from callwise.serve.acknowledgements import Acknowledgements
from callwise.serve.messages import Refused
from callwise.wake import WakeStore

from .conftest import AUTHORIZED, PASSES_SECONDS, TOKEN, closed, event_of, lines_of

AGENTS = """
models: {one: {}}
wake: {delay_seconds: [0, 0], intent_daily_calls: 0}
agents:
  - {id: alice, persona: A retired sailor., model: one}
"""


async def acknowledged(socket, number):
    """Acknowledge a number, and wait until the server has read it."""
    await socket.send_json({"type": "ack", "sequence": number})
    await socket.send_json({"type": "ack", "sequence": 2**52})
    await event_of(socket, "error")


def known(client="tab"):
    """Return the options of a client that begins after what it has acknowledged."""
    return {"after": None, "fields": {"client": client}}


async def test_a_client_begins_after_what_it_has_acknowledged(serve):
    """Also where a lower number comes late; another client has its own number."""
    room = await serve(poll_seconds=PASSES_SECONDS)
    room.fill(5)
    async with room.connected(**known()) as socket:
        assert (await event_of(socket, "hello"))["acknowledged"] == 0
        assert [each["sequence"] for each in await lines_of(socket, 5)] == [1, 2, 3, 4, 5]
        await acknowledged(socket, 3)
        await acknowledged(socket, 2)
    async with room.connected(**known()) as socket, room.connected(**known("other")) as other:
        assert (await event_of(socket, "hello"))["acknowledged"] == 3
        assert [each["sequence"] for each in await lines_of(socket, 2)] == [4, 5]
        assert (await lines_of(other, 1))[0]["sequence"] == 1
    async with room.connected(after=4, fields={"client": "tab"}) as socket:
        assert (await event_of(socket, "hello"))["acknowledged"] == 3
        assert (await lines_of(socket, 1))[0]["sequence"] == 5


async def test_only_the_newest_lines_are_sent_to_one_that_asks_for_so_many(serve):
    """Never such that it has, and all where there are fewer."""
    room = await serve()
    room.fill(10)
    for after, newest, first in ((0, 3, 8), (9, 3, 10), (0, 20, 1), (0, 0, 11)):
        async with room.connected(after=after, fields={"newest": newest}) as socket:
            await event_of(socket, "hello")
            room.fill(10 - room.host.feed.head + 1 if first == 11 else 0)
            assert (await lines_of(socket, 1))[0]["sequence"] == first


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("6", "message 6 is acknowledged, and the chat's last is 5"),
        ("9007199254740992", "sequence: "),
        ("-1", "sequence: "),
        ("true", "sequence: "),
        ("1.5", "sequence: "),
        ('"3"', "sequence: "),
        ("null", "sequence: "),
        ("1e400", "no JSON object"),
    ],
)
async def test_a_number_that_cannot_be_is_an_error(serve, number, problem):
    """Nothing is noted, and the client stays."""
    room = await serve()
    room.fill(5)
    async with room.connected(**known()) as socket:
        await socket.send_str(f'{{"type": "ack", "sequence": {number}}}')
        assert problem in (await event_of(socket, "error"))["error"]
        assert room.host.acknowledgements.last_of("tab") == 0
        await socket.send_json({"type": "say", "author": "Mia", "text": "still here"})
        assert (await event_of(socket, "said"))["sequence"] == 6


async def test_a_client_without_an_id_acknowledges_nothing(serve):
    """Its error names the field of the hello."""
    room = await serve()
    room.fill(1)
    async with room.connected() as socket:
        await socket.send_json({"type": "ack", "sequence": 1})
        assert "give `client` in the hello" in (await event_of(socket, "error"))["error"]


@pytest.mark.parametrize("client", ["a b", "a:b", "../x", "tab\n", "x" * 129, "\u4e2d", "'; --"])
async def test_an_id_with_other_signs_is_no_hello(serve, client):
    """It has the signs of other ids."""
    room = await serve()
    async with room.connected(fields={"client": client}) as socket:
        assert (await closed(socket))[0] == 4400


async def test_a_flood_of_numbers_is_one_transaction(serve):
    """What is stored is the highest; others go on in between."""
    room = await serve(poll_seconds=PASSES_SECONDS)
    room.fill(1_000)
    written = []
    room.store._file._connection.set_trace_callback(
        lambda statement: written.append(statement) if "BEGIN IMMEDIATE" in statement else None
    )
    async with room.connected(**known()) as socket, room.connected(after=1_000) as other:
        for number in range(1_000):
            await socket.send_json({"type": "ack", "sequence": number})
        await other.send_json({"type": "say", "author": "Mia", "text": "between"})
        await event_of(other, "said")
        await acknowledged(socket, 1_000)
    assert len(written) == 1  # of the line that was said
    room.host.acknowledgements.store()
    room.host.acknowledgements.store()
    assert len(written) == 2
    assert room.store.rooms.acknowledged("tab", "main") == 1_000


async def test_numbers_are_stored_while_the_room_runs_and_at_its_end(serve, tmp_path):
    """By the poll; and what came after it, by the drain."""
    path = tmp_path / "wake.sqlite"
    with WakeStore(path) as store, WakeStore(path) as other:
        room = await serve(store, poll_seconds=0.001)
        room.fill(2)
        async with room.connected(**known()) as socket:
            await acknowledged(socket, 1)
            async with asyncio.timeout(PASSES_SECONDS):
                while other.rooms.acknowledged("tab", "main") != 1:
                    await room.get("/health")  # a request, in which the server has its turn
        late = await serve(store, poll_seconds=PASSES_SECONDS)
        async with late.connected(**known()) as socket:
            await acknowledged(socket, 2)
            assert other.rooms.acknowledged("tab", "main") == 1
            await late.host.drain(5.0, reason="a test ended it")
            await late.task
        assert other.rooms.acknowledged("tab", "main") == 2


def test_clients_that_are_the_furthest_behind_are_forgotten():
    """At most so many are kept, in the store and before it."""
    with WakeStore(":memory:") as store:
        for number in range(5):
            store.rooms.say("main", "Mia", "x", id=f"m{number}", at=1.0)
        kept = Acknowledgements(store.rooms, "main", max_clients=2)
        for name, number in (("a", 3), ("b", 5)):
            kept.note(name, number, last=5)
        with pytest.raises(Refused, match="too many clients"):
            kept.note("c", 4, last=5)
        kept.store()
        kept.note("c", 4, last=5)
        kept.store()
        assert [kept.last_of(name) for name in "abc"] == [0, 5, 4]


def test_numbers_that_could_not_be_stored_are_stored_later(tmp_path, caplog):
    """They are known in between, and the failure is logged."""
    path = tmp_path / "wake.sqlite"
    with WakeStore(path, busy_timeout_seconds=0.01) as store, WakeStore(path) as other:
        store.rooms.say("main", "Mia", "x", id="m1", at=1.0)
        kept = Acknowledgements(store.rooms, "main")
        kept.note("tab", 1, last=1)
        with other._file.writing():
            kept.store()
            assert "were not stored: StoreLocked" in caplog.text
            assert kept.last_of("tab") == 1
        kept.store()
        assert other.rooms.acknowledged("tab", "main") == 1


@pytest.mark.slow
def test_a_client_has_no_gap_and_no_double_after_its_server_is_killed(tmp_path):
    """It drops numbers that it has; what it is sent again is at most what it had not stored."""
    (tmp_path / "agents.yaml").write_text(AGENTS, encoding="utf-8")
    seen: list[int] = []
    begins: list[tuple[int, int]] = []
    options = ("--port", "0", "--store", "kept.sqlite")

    async def talk(url, process, until):
        async with (
            aiohttp.ClientSession(headers=AUTHORIZED) as session,
            session.ws_connect(url + "/socket") as socket,
        ):
            await socket.send_json({"type": "hello", "client": "tab"})
            begins.append(((await event_of(socket, "hello"))["acknowledged"], len(seen)))
            for number in range(len(seen), until):
                say = {"type": "say", "author": "Mia", "text": "x", "id": f"m{number}"}
                await socket.send_json(say)
            while len(seen) < until:
                sequence = (await event_of(socket, "message"))["sequence"]
                assert sequence <= len(seen) + 1, "a gap"
                if sequence > len(seen):
                    seen.append(sequence)
                    await socket.send_json({"type": "ack", "sequence": sequence})
            with WakeStore(tmp_path / "kept.sqlite") as store:
                while store.rooms.acknowledged("tab", "main") < until - 5:
                    async with session.get(url + "/ready") as answer:
                        assert answer.status == 200
            process.kill()

    for until in (20, 40, 60):
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "callwise", "serve", "agents.yaml", *options],
            cwd=tmp_path,
            env={**os.environ, "CALLWISE_SERVE_TOKEN": TOKEN},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            found = next(
                filter(None, (re.search(r"page: (http://\S+)/ ", line) for line in process.stderr))
            )
            asyncio.run(asyncio.wait_for(talk(found[1], process, until), PASSES_SECONDS))
        finally:
            process.kill()
            process.communicate()
    assert seen == list(range(1, 61))
    assert begins[0] == (0, 0)
    assert all(had - 5 <= begin <= had for begin, had in begins)
