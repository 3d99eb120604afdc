"""Connections of an endpoint's pool, and streams that stop without ending."""

import asyncio

import pytest

from callwise.budget import Budgeter, Limits, RetryPolicy, ScopeKind
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Outcome, Purpose, Role
from callwise.calls.endpoint_settings import EndpointSettings
from callwise.calls.errors import CallTimeout, StreamCut
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.role_endpoints import endpoints_from_settings


async def test_calls_of_many_share_a_few_connections(server, ask):
    """By the count of the server: no more than the pool has, and later calls make none."""
    client = OpenAIClient(server.url, max_connections=3)
    for _ in range(4):
        replies = await client.answer([ask(str(n)) for n in range(10)], model="m")
        assert [reply.text for reply in replies] == [str(n) for n in range(10)]
    assert len(server.bodies) == 40
    assert len(server.connections) == 3
    await client.aclose()


async def test_without_keepalive_each_request_has_its_own_connection(server, ask):
    """For servers that close idle connections without notice."""
    client = OpenAIClient(server.url, keepalive_seconds=0)
    for _ in range(3):
        await client.answer([ask("one")], model="m")
    assert len(server.connections) == 3
    await client.aclose()


async def test_the_settings_of_an_endpoint_reach_its_pool(server, ask):
    """`max_connections` and `keepalive_seconds`, through a budgeter."""
    settings = EndpointSettings(base_url=server.url, model="m", keepalive_seconds=0)
    kept = settings.model_copy(update={"keepalive_seconds": 15.0, "max_connections": 2})
    for given, most in ((settings, 6), (kept, 2)):
        server.connections.clear()
        budgeter = Budgeter(endpoints_from_settings({Role.MAIN: given}, environ={}))
        await budgeter.ask_all([ask(str(n)) for n in range(6)])
        assert len(server.connections) == most
        await budgeter.aclose()


class StallingStream:
    """A transport whose streams send a piece every few seconds, and then nothing more."""

    status = 200

    def __init__(self, pieces, pause_seconds, wire_words):
        self.headers = {"content-type": "text/event-stream"}
        self.pieces_left = pieces
        self.pause_seconds = pause_seconds
        self.words = wire_words
        self.is_closed = False

    async def send(self, method, path, content, moment):
        """Send the headers."""
        moment.mark()
        return self

    async def pieces(self):
        """Send one piece after another, and then wait for ever."""
        for number in range(self.pieces_left):
            await asyncio.sleep(self.pause_seconds)
            yield self.words.events(self.words.delta(f"{number} "), done=False)
        await asyncio.sleep(10**6)

    def close(self):
        """Note it."""
        self.is_closed = True

    async def aclose(self):
        """Do nothing."""


class StallingClient(OpenAIClient):
    """A client over a transport of the test."""

    def __init__(self, transport, **options):
        super().__init__("http://127.0.0.1:9/v1", **options)
        self.transport = transport

    def _open(self):
        return self.transport


def stalled(wire_words, *, pieces=8, idle_seconds=10.0):
    """Return how a streamed call ends whose stream stops, when, and its ledger row."""
    transport = StallingStream(pieces, 9.0, wire_words)
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hi"),), stream=True)

    async def main():
        loop = asyncio.get_running_loop()
        client = StallingClient(transport, stream_idle_seconds=idle_seconds, clock=loop.time)
        retry = RetryPolicy(stream_cut_attempts=1, timeout_attempts=1)
        budgeter = Budgeter({Role.MAIN: Endpoint("here", "m", client)}, retry=retry)
        with (
            budgeter.scope(ScopeKind.TURN, "1", limits=Limits(max_tokens=10_000)),
            pytest.raises((StreamCut, CallTimeout)) as caught,
        ):
            await budgeter.ask(call)
        budgeter.ledger.check()
        return caught.value, loop.time(), budgeter.ledger.rows[0]

    return *run_in_virtual_time(main()), transport


def test_a_stream_that_stops_is_broken_off_after_its_idle_time(wire_words):
    """Slow pieces are waited for, one after another; what came is counted, and no answer."""
    error, seconds, row, transport = stalled(wire_words)
    assert type(error) is StreamCut
    assert "after 8 pieces: nothing came for 10 s" in str(error)
    assert seconds == pytest.approx(8 * 9 + 10)
    assert (row.outcome, row.requests, row.unknown_usage) == (Outcome.FAILED, 1, 1)
    assert row.output_tokens > 0
    assert transport.is_closed


def test_a_stream_that_never_begins_is_broken_off_too(wire_words):
    """After its headers."""
    error, seconds, _, _ = stalled(wire_words, pieces=0)
    assert "after 0 pieces: nothing came for 10 s" in str(error)
    assert seconds == pytest.approx(10)


def test_without_an_idle_time_the_whole_attempt_is_waited_for(wire_words):
    """As it was."""
    error, seconds, _, _ = stalled(wire_words, idle_seconds=None)
    assert type(error) is CallTimeout
    assert seconds == pytest.approx(180)
