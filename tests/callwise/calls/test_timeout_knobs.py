"""Timeouts by kind of work and by provider."""

import pytest

from callwise.budget import Budgeter
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.hosts import known_timeout_seconds
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.timeout_knobs import TimeoutKnobs
from callwise.testing.fakes import ScriptedClient

KNOBS = TimeoutKnobs()


def call_of(purpose, **more):
    """Return a call."""
    if purpose is Purpose.EMBED:
        return Call(Role.EMBED, purpose, inputs=("hi",), **more)
    return Call(Role.MAIN, purpose, (Message("user", "hi"),), **more)


@pytest.mark.parametrize(
    ("purpose", "seconds"),
    [
        (Purpose.EMBED, 30),
        (Purpose.RETRIEVE, 30),
        (Purpose.RERANK, 30),
        (Purpose.REASON, 120),
        (Purpose.SUMMARIZE, 120),
        (Purpose.OTHER, 120),
    ],
)
async def test_a_call_has_the_time_of_its_kind(purpose, seconds):
    """Where neither it nor its endpoint has one."""
    client = ScriptedClient(lambda call: "ok")
    endpoint = Endpoint("here", "m", client)
    budgeter = Budgeter(dict.fromkeys(Role, endpoint), load=LoadKnobs(timeout=KNOBS))
    await budgeter.ask(call_of(purpose))
    assert client.calls[0].timeout_seconds == seconds
    plain = Budgeter(dict.fromkeys(Role, endpoint))
    await plain.ask(call_of(purpose))
    assert client.calls[1].timeout_seconds is None  # the client's own


async def test_what_a_call_or_its_endpoint_has_goes_before():
    """In that order, and an endpoint's knobs before the run's."""
    client = ScriptedClient(lambda call: "ok")
    load = LoadKnobs(timeout=KNOBS)
    own = LoadKnobs(timeout=TimeoutKnobs(complex_seconds=9))
    endpoints = {
        Role.MAIN: Endpoint("a", "m", client, timeout_seconds=7),
        Role.JUDGE: Endpoint("b", "m", client, load=own),
    }
    budgeter = Budgeter(endpoints, load=load)
    await budgeter.ask(call_of(Purpose.REASON, timeout_seconds=3))
    await budgeter.ask(call_of(Purpose.REASON))
    judged = Call(Role.JUDGE, Purpose.JUDGE, (Message("user", "hi"),))
    await budgeter.ask(judged)
    assert [call.timeout_seconds for call in client.calls] == [3, 7, 9]


def test_a_known_provider_has_its_own_time():
    """Only where that is asked for."""
    by_provider = TimeoutKnobs(by_provider=True)
    call = call_of(Purpose.REASON)
    known = ("api.openai.com", "api.anthropic.com", "api.groq.com-openai")
    names = (*known, "api.deepseek.com", "localhost-8000")
    assert [by_provider.seconds_of(call, name) for name in names] == [60, 45, 30, 120, 120]
    assert [KNOBS.seconds_of(call, name) for name in names] == [120] * 5
    assert known_timeout_seconds("api.openai.com.example") is None
