"""Batches that do not end or are not created: bounded, counted, resumed without a purchase."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from callwise.budget import Budgeter, Limits
from callwise.budget.clock import ManualClock
from callwise.calls import Call, Endpoint, Message, Prices, Purpose, Role
from callwise.calls.call import Outcome, Priority
from callwise.calls.errors import BatchUnfinished, CallRefused, ServerFailed, WrongAddress
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.openai_http import OpenAIClient
from tests.callwise.budget.batch_api.provider import BatchProvider


class _JumpingClock(ManualClock):
    """A clock whose time is that of its sleepers: each wait is over immediately."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def provider():
    """Yield a provider that listens on loopback."""
    server = BatchProvider()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def budgeter_of(provider, tmp_path):
    """Return a function that makes a budgeter whose calls go to the provider."""

    def make(limits: Limits | None = None, **knobs: Any) -> Budgeter:
        endpoint = Endpoint("provider", "model-1", OpenAIClient(provider.url), Prices(1.0, 2.0))
        background = BackgroundKnobs(
            file=tmp_path / "queue.sqlite", api="openai", quiet_seconds=0.0, **knobs
        )
        return Budgeter(
            dict.fromkeys(Role, endpoint),
            load=LoadKnobs(background=background),
            limits=limits or Limits(),
            clock=_JumpingClock(),
        )

    return make


def background(number: int) -> Call:
    """Return a call that may wait."""
    messages = (Message("user", f"q{number}"),)
    return Call(Role.MAIN, Purpose.OTHER, messages, priority=Priority.BACKGROUND)


async def _asked(budgeter: Budgeter, count: int) -> list[Any]:
    try:
        results = await budgeter.ask_all([background(number) for number in range(count)])
        budgeter.ledger.check()
    finally:
        await budgeter.aclose()
    return list(results)


@pytest.mark.parametrize("is_unknown", [True, False], ids=["unknown state", "never ends"])
async def test_a_batch_that_does_not_end_is_given_up_and_goes_on_later(
    provider, budgeter_of, caplog, is_unknown
):
    """A state that is not known here after an hour, any other after the knob's time."""
    if is_unknown:
        provider.ends_as = "paused"
    else:
        provider.polls_to_end = 10**9
    first = budgeter_of(max_batch_seconds=10_000.0)
    results = await _asked(first, 3)
    words = "its state was 'paused' for 3600 s" if is_unknown else "not ended after 10000 s"
    assert all(isinstance(each, BatchUnfinished) and words in str(each) for each in results)
    assert ("a state that is not known here: 'paused'" in caplog.text) is is_unknown
    assert len(caplog.records) == is_unknown
    rows = first.ledger.rows
    assert [row.outcome for row in rows] == [Outcome.FAILED] * 3
    assert sum(row.requests for row in rows) == len(provider.log)
    assert [row.usage.unknown_usage for row in rows] == [1, 1, 1], "unknown is not free"

    provider.polls_to_end = 0
    if is_unknown:
        provider.batches[0]["status"] = "completed"
    replies = await _asked(budgeter_of(), 3)
    assert [each.text for each in replies] == ["echo q0", "echo q1", "echo q2"]
    assert set(provider.bought.values()) == {1}
    assert len(provider.batches) == 1


async def test_what_fails_before_a_batch_is_created_is_known_to_have_used_nothing(
    provider, budgeter_of
):
    """An upload is a request, and buys nothing."""
    provider.faults = lambda _, path: web.Response(status=500) if path == "/files" else None
    budgeter = budgeter_of()
    [result] = await _asked(budgeter, 1)
    assert isinstance(result, ServerFailed)
    usage = budgeter.ledger.counts().usage
    assert (usage.requests, usage.charged_tokens) == (len(provider.log), 0)
    assert (usage.unknown_usage, usage.unknown_usd) == (0, 0)


async def test_an_endpoint_without_batches_is_named(provider, budgeter_of):
    """The error has both ways out, and nothing was bought."""
    provider.faults = lambda *_: web.Response(status=404, text="<html>not here</html>")
    with pytest.raises(WrongAddress, match=r"no interface for batches\? Then leave --batch out"):
        await _asked(budgeter_of(), 1)
    assert not provider.batches


async def test_a_batch_takes_one_request_of_the_limit_however_many_lines_it_has(
    provider, budgeter_of
):
    """Questions and files are counted, and not limited: without them what was bought is lost."""
    budgeter = budgeter_of(Limits(max_requests=1))
    replies = await _asked(budgeter, 20)
    assert [each.text for each in replies] == [f"echo q{number}" for number in range(20)]
    assert len(provider.batches) == 1
    assert budgeter.ledger.counts().usage.requests == len(provider.log) > 1


async def test_a_batch_beyond_the_limit_on_requests_is_refused_before_its_upload(
    provider, budgeter_of
):
    """Its calls are refused and leave nothing behind; those of the first batch are answered."""
    budgeter = budgeter_of(Limits(max_requests=1), max_lines=10)
    results = await _asked(budgeter, 20)
    assert [each.text for each in results[:10]] == [f"echo q{number}" for number in range(10)]
    assert all(isinstance(each, CallRefused) for each in results[10:])
    assert provider.log.count("POST /files") == len(provider.batches) == 1
    refused = [row for row in budgeter.ledger.rows if row.outcome is Outcome.REFUSED]
    assert len(refused) == 10
    assert {row.usage.requests for row in refused} == {0}
