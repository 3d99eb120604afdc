"""Rooms over HTTP and websockets: who may, in which order lines come, and how it ends."""

import asyncio
import json
import math
from contextlib import suppress

import aiohttp
import pytest

from callwise.calls import Endpoint
from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreFailed
from callwise.serve import Access, room_host
from callwise.serve.messages import MAX_MESSAGE_BYTES, Say
from callwise.testing.fakes import ScriptedClient
from callwise.wake import WakeStore

from .conftest import AUTHORIZED, PASSES_SECONDS, TOKEN, closed, event_of, lines_of, settings_of


async def test_a_line_comes_to_every_client_in_order(serve):
    """With its number; the sender gets the number as well."""
    room = await serve()
    async with room.connected() as first, room.connected() as second:
        hello = await event_of(first, "hello")
        assert (hello["room"], hello["last"], hello["simulated"]) == ("main", 0, True)
        assert [each["id"] for each in hello["agents"]] == list("abcde")
        for number in range(1, 4):
            await first.send_json({"type": "say", "author": "Mia", "text": f"line {number}"})
            assert (await event_of(first, "said"))["sequence"] == number
        status, said = await room.say("from HTTP")
        assert (status, said["sequence"]) == (202, 4)
        lines = await lines_of(second, 4)
        assert [each["sequence"] for each in lines] == [1, 2, 3, 4]
        assert [each["text"] for each in lines] == ["line 1", "line 2", "line 3", "from HTTP"]
        assert {each["author"] for each in lines} == {"Mia"}
        assert lines[0]["cost"] is None


async def test_a_client_that_comes_back_has_no_gap_and_no_double(serve):
    """Wherever its connection broke, its last number is enough."""
    room = await serve()
    seen = []
    for _ in range(8):
        room.fill(50)
        async with room.connected(after=len(seen)) as socket:
            seen += [each["sequence"] for each in await lines_of(socket, 37)]
            room.fill(3)
    async with room.connected(after=len(seen)) as socket:
        seen += [
            each["sequence"] for each in await lines_of(socket, room.host.feed.head - len(seen))
        ]
    assert seen == list(range(1, 8 * 53 + 1))


async def test_a_line_that_is_published_again_is_sent_once(serve):
    """An older number is one that the clients have."""
    room = await serve()
    room.fill(3)
    async with room.connected() as socket:
        for message in room.store.rooms.messages("main"):
            room.host.feed.publish(message)
        room.fill(1)
        assert [each["sequence"] for each in await lines_of(socket, 4)] == [1, 2, 3, 4]
        assert [number for number, _ in room.host.feed.lines(0)] == [1, 2, 3, 4]


async def test_lines_of_an_earlier_process_come_from_the_store(serve, tmp_path):
    """Also those that are no longer kept as text."""
    with WakeStore(tmp_path / "wake.sqlite") as store:
        for number in range(1, 201):
            store.rooms.say("main", "Mia", f"line {number}", id=str(number), at=1.0)
        room = await serve(store)
        room.fill(1_100)
        async with room.connected(after=5) as socket:
            lines = await lines_of(socket, 1_295)
        assert [each["sequence"] for each in lines] == list(range(6, 1_301))
        status, text = await room.get("/messages?after=1298")
        assert status == 200
        assert [each["sequence"] for each in json.loads(text)["messages"]] == [1_299, 1_300]


async def test_lines_of_another_process_are_streamed(serve, tmp_path):
    """Both put them into one log."""
    with WakeStore(tmp_path / "wake.sqlite") as store, WakeStore(tmp_path / "wake.sqlite") as other:
        room = await serve(store, poll_seconds=0.001)
        async with room.connected() as socket:
            await event_of(socket, "hello")
            other.rooms.say("main", "Jonas", "from elsewhere", id="1", at=1.0)
            assert (await lines_of(socket, 1))[0]["text"] == "from elsewhere"
            await room.say("from here")
            assert (await lines_of(socket, 1))[0]["sequence"] == 2


async def test_a_client_of_another_process_may_be_ahead(serve, tmp_path):
    """It has a line that this process has not shown yet; what follows comes once."""
    with WakeStore(tmp_path / "wake.sqlite") as store, WakeStore(tmp_path / "wake.sqlite") as other:
        room = await serve(store, poll_seconds=PASSES_SECONDS)
        for number in range(3):
            other.rooms.say("main", "Jonas", f"line {number}", id=str(number), at=1.0)
        async with room.connected(after=2) as socket:
            await event_of(socket, "hello")
            await room.say("from here")
            assert [each["sequence"] for each in await lines_of(socket, 2)] == [3, 4]


async def test_an_hour_by_hand_is_one_and_m_requests(serve):
    """Five agents on two models; each reply has its cost, and its text is in the chat."""
    room = await serve(settings=settings_of())
    async with room.connected() as socket:
        status, report = await room.post("/wake")
        assert status == 200
        assert report["intent"] == "answered"
        models = {"a": "one", "b": "two", "c": "one", "d": "two", "e": "one"}
        assert report["requests"] == 1 + len({models[each] for each in report["woken"]})
        lines = await lines_of(socket, len(report["woken"]))
        assert sorted(each["author"] for each in lines) == sorted(report["woken"])
        assert all(each["cost"]["calls"] == 1 and each["cost"]["simulated"] for each in lines)
        for each in lines:
            intent, reply = each["cost"]["calls_of_turn"] + each["cost"]["calls_of_reply"]
            assert (intent["nodes"], intent["request"]) == (["intent"], 1)
            assert reply["nodes"] == [f"agent:{each['author']}"]
            assert 1 < reply["request"] <= report["requests"]
        assert sum(each["cost"]["requests"] for each in lines) == report["requests"] - 1
        while True:
            shown = await event_of(socket, "status")
            if shown.get("wakes"):
                break
        assert shown["wakes"][0]["requests"] == report["requests"]
        assert len(shown["requests"]) == report["requests"]
        assert shown["totals"]["calls"] == report["calls"]
    status, second = await room.post("/wake")
    assert (status, second["at"] - report["at"]) == (200, 3600.0)


async def test_a_mention_is_answered_by_its_agent(serve):
    """Over the websocket; the line comes before the reply."""
    room = await serve()
    async with room.connected() as socket:
        await socket.send_json({"type": "say", "author": "Mia", "text": "Are you up?", "to": "b"})
        lines = await lines_of(socket, 2)
        assert [each["author"] for each in lines] == ["Mia", "b"]
        assert lines[1]["cost"]["requests"] == 1


@pytest.mark.parametrize("token", ["", "wrong-horse-battery", TOKEN + "x", "\u4e2d" * 16])
async def test_a_wrong_token_gets_nothing(serve, token):
    """Neither over HTTP, nor over a websocket, which is closed with the reason."""
    room = await serve()
    room.fill(1)
    async with room.connected(token=token) as socket:
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        assert "token" in message.extra
    for headers in ({}, {"Authorization": "Bearer wrong-horse-battery"}, {"Authorization": TOKEN}):
        assert (await room.post("/messages", {"author": "a", "text": "b"}, headers))[0] == 401
        assert (await room.post("/wake", None, headers))[0] == 401
        for path in ("/metrics", "/messages", f"/metrics?token={TOKEN}"):
            assert (await room.get(path, headers))[0] == 401
    assert room.host.feed.head == 1


async def test_a_token_in_the_header_is_enough_for_a_websocket(serve):
    """Clients that can set headers need not send it in a message."""
    room = await serve()
    async with room.connected(token="", headers=AUTHORIZED) as socket:
        assert (await event_of(socket, "hello"))["type"] == "hello"


@pytest.mark.parametrize("token", ["", "short", "with a space in it", "\u4e2d" * 20, "x" * 513])
def test_a_token_that_can_be_guessed_is_refused(token):
    """Or that no header can carry."""
    with pytest.raises(ConfigError, match="CALLWISE_SERVE_TOKEN"):
        Access(token)


async def test_a_message_of_a_megabyte_is_refused_and_the_client_stays(serve):
    """Over HTTP with 413, over a websocket with an error that names the limit."""
    room = await serve()
    text = "x" * 1_000_000
    status, answer = await room.say(text)
    assert status == 413
    assert f"{MAX_MESSAGE_BYTES:,}" in answer["error"]
    async with room.connected() as socket:
        await socket.send_json({"type": "say", "author": "Mia", "text": text})
        assert f"{MAX_MESSAGE_BYTES:,}" in (await event_of(socket, "error"))["error"]
        await socket.send_json({"type": "say", "author": "Mia", "text": "short"})
        assert (await event_of(socket, "said"))["sequence"] == 1
    async with room.connected() as socket:
        with suppress(OSError):  # it is cut off while it sends
            await socket.send_str("x" * (5 * 1024 * 1024))
        assert (await closed(socket))[0] in {1006, 1009}
    async with room.connected() as socket:
        assert len(await lines_of(socket, 1)) == 1


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("no JSON", "no JSON object"),
        ("[]", "no JSON object"),
        ("[" * 50_000, "no JSON object"),
        ('{"type": "shout"}', "type 'say'"),
        ('{"type": "say", "author": "Mia"}', "text: "),
        ('{"type": "say", "author": "Mia", "text": " "}', "text: "),
        ('{"type": "say", "author": "a\\nb", "text": "x"}', "author: a name is one line"),
        ('{"type": "say", "author": "a\\u200d", "text": "x"}', "author: a name is one line"),
        ('{"type": "say", "author": "A", "text": "x"}', "is an agent"),
        ('{"type": "say", "author": "M", "text": "x", "to": " "}', "no agent ' '"),
        ('{"type": "say", "author": "M", "text": "x", "id": "main:1:a"}', "message id"),
        ('{"type": "say", "author": "M", "text": "x", "to": "zoe"}', "no agent 'zoe'"),
        ('{"type": "say", "author": "M", "text": "\\ud800"}', "no JSON object"),
    ],
)
async def test_a_bad_message_is_answered_with_its_problem(serve, message, problem):
    """Nothing comes into the chat, and the client stays connected."""
    room = await serve()
    async with room.connected() as socket:
        await socket.send_str(message)
        assert problem in (await event_of(socket, "error"))["error"]
    assert room.host.feed.head == 0


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ('{"type": "say"}', 4400),
        ('{"type": "hello", "after": -1}', 4400),
        ('{"type": "hello", "after": true}', 4400),
        (json.dumps({"type": "hello", "token": TOKEN, "after": 7}), 4409),
    ],
)
async def test_a_bad_hello_closes_with_a_reason(serve, hello, code):
    """A number that the chat does not have yet included."""
    room = await serve()
    async with room.session.ws_connect(room.url + "/socket") as socket:
        await socket.send_str(hello)
        found, reason = await closed(socket)
        assert found == code
        assert reason


async def test_the_same_line_sent_again_is_there_once(serve):
    """Its id decides, also where the first answer was lost."""
    room = await serve()
    first = await room.say("once", id="mine-1")
    second = await room.say("once", id="mine-1")
    assert first == second
    assert room.host.feed.head == 1
    status, other = await room.say("another", id="mine-1")
    assert status == 409
    assert "another message" in other["error"]


async def test_more_messages_than_may_be_answered_are_refused(serve, monkeypatch):
    """With 503, so that they are sent again; a second wake by hand is a conflict."""
    monkeypatch.setattr(room_host, "MAX_ANSWERED", 1)
    asked, gate = asyncio.Event(), asyncio.Event()

    async def answer(_call):
        asked.set()
        await gate.wait()
        return "an answer"

    client = ScriptedClient(answer)
    served = {name: Endpoint(name, name, client) for name in ("fast", "main", "one", "two")}
    room = await serve(endpoints=served)
    assert (await room.say("@b are you up?"))[0] == 202
    await asked.wait()
    asked.clear()
    for text in ("@b are you there?", "to no agent"):
        status, refused = await room.say(text)
        assert status == 503
        assert "1 messages are being answered" in refused["error"]
    waking = asyncio.create_task(room.post("/wake"))
    await asked.wait()
    assert (await room.post("/wake"))[0] == 409
    gate.set()
    assert (await waking)[0] == 200


async def test_pages_of_other_origins_and_names_are_refused(serve):
    """A page elsewhere cannot connect, read or write, and gets no header of CORS."""
    room = await serve(access=Access(TOKEN, origins=["https://chat.example"]))
    for origin in ("https://evil.example", "null", room.url.replace("http", "https")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await room.session.ws_connect(room.url + "/socket", origin=origin)
        assert refused.value.status == 403
        status, _ = await room.post(
            "/messages", {"author": "a", "text": "b"}, {**AUTHORIZED, "Origin": origin}
        )
        assert status == 403
    for origin in ("https://chat.example", room.url):
        async with room.connected(origin=origin) as socket:
            assert await event_of(socket, "hello")
    assert (await room.get("/health", {"Host": "evil.example"}))[0] == 421
    assert (await room.get("/health", {"Host": "localhost"}))[0] == 200
    async with room.session.options(room.url + "/messages", headers=AUTHORIZED) as response:
        assert response.status == 405
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_health_readiness_and_metrics(serve):
    """The counters are the ledger's."""
    room = await serve(settings=settings_of())
    assert (await room.get("/health", {}))[0] == 200
    assert (await room.get("/ready", {}))[0] == 200
    _, report = await room.post("/wake")
    status, text = await room.get("/metrics")
    assert status == 200
    samples = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    counts = room.host.budgeter.run.counts()
    assert float(samples["callwise_calls_asked_total"]) == counts.asked == report["calls"]
    served = {name: value for name, value in samples.items() if 'outcome="served"' in name}
    calls = [float(v) for name, v in served.items() if name.startswith("callwise_calls_total{")]
    assert math.fsum(calls) == counts.asked
    intent = 'callwise_requests_total{outcome="served",purpose="intent",role="fast"}'
    assert float(served[intent]) == 1
    assert float(samples["callwise_wakes_total"]) == 1
    assert float(samples["callwise_up"]) == 1
    helps = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert helps == types
    assert len(set(helps)) == len(helps)


async def test_calls_under_way_are_in_the_status(serve):
    """Of a wake by hand, before any of them has ended."""
    gate = asyncio.Event()

    async def answer(_call):
        await gate.wait()
        return "an answer"

    client = ScriptedClient(answer)
    served = {name: Endpoint(name, name, client) for name in ("fast", "main", "one", "two")}
    room = await serve(endpoints=served)
    async with room.connected() as socket:
        waking = asyncio.create_task(room.post("/wake"))
        while (shown := await event_of(socket, "status")).get("under_way") != 5:
            pass
        assert shown["requests"] == []
        gate.set()
        assert (await waking)[1]["requests"] == 5
        while (shown := await event_of(socket, "status"))["under_way"]:
            pass
        assert len(shown["requests"]) == 5


async def test_the_status_counts_the_clients(serve):
    """Also where nothing else happens."""
    room = await serve(poll_seconds=0.001)
    async with room.connected() as first:
        async with room.connected() as _:
            while (await event_of(first, "status")).get("clients") != 2:
                pass
        while (await event_of(first, "status"))["clients"] != 1:
            pass


async def test_a_drain_lets_a_reply_come_and_closes_clients_with_a_reason(serve):
    """What is asked when it begins is answered and kept; later lines are refused."""
    asked, gate = asyncio.Event(), asyncio.Event()

    async def answer(_call):
        asked.set()
        await gate.wait()
        return "late, and kept"

    client = ScriptedClient(answer)
    served = {name: Endpoint(name, name, client) for name in ("fast", "main", "one", "two")}
    room = await serve(endpoints=served)
    async with room.connected() as socket:
        await event_of(socket, "hello")
        await room.say("@b are you up?")
        await asked.wait()
        draining = asyncio.create_task(room.host.drain(5.0, reason="a test ended it"))
        await asyncio.sleep(0)
        assert (await room.get("/ready", {}))[0] == 503
        assert (await room.get("/health", {}))[0] == 200
        status, refused = await room.say("too late")
        assert status == 503
        assert "stopping" in refused["error"]
        gate.set()
        drained = await draining
        assert (drained.ended, drained.cancelled) == (1, 0)
        code, reason = await closed(socket)
        assert code == 1012
        assert "last number" in reason
    await room.task
    log = room.store.rooms
    log.deliver_due(4e9)
    assert [each.text for each in log.messages("main")] == ["@b are you up?", "late, and kept"]
    assert room.store.credits.open_holds() == []


async def test_a_call_that_does_not_end_is_cancelled_by_the_drain(serve):
    """Its credits are given back."""
    asked = asyncio.Event()

    async def answer(_call):
        asked.set()
        await asyncio.Event().wait()

    client = ScriptedClient(answer)
    served = {name: Endpoint(name, name, client) for name in ("fast", "main", "one", "two")}
    room = await serve(endpoints=served)
    await room.say("@b are you up?")
    await asked.wait()
    assert (await room.host.drain(0.0, reason="a test ended it")).cancelled == 1
    await room.task
    assert room.store.credits.open_holds() == []
    assert room.store.credits.total() == 0


async def test_a_store_that_fails_is_no_success(serve):
    """Requests are refused, readiness ends, and so does the server once it cannot deliver."""
    room = await serve(poll_seconds=PASSES_SECONDS)
    room.store.close()
    status, refused = await room.say("lost")
    assert status == 503
    assert "the store cannot be" in refused["error"]
    assert (await room.post("/wake"))[0] == 503
    assert (await room.get("/messages?after=0"))[0] == 200
    assert (await room.get("/ready", {}))[0] == 503
    assert (await room.get("/health", {}))[0] == 200
    room.host._chat.check_log()
    with pytest.raises(StoreFailed):
        await asyncio.wait_for(room.task, PASSES_SECONDS)


def test_an_author_may_have_joiners():
    """They are parts of emoji and of some scripts."""
    for author in ("👩\u200d👩\u200d👧", "علی\u200cرضا"):
        assert Say(author=f" {author} ", text="hello").author == author
