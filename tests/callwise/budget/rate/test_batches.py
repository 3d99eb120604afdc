"""Batches under rate limits: one request, the tokens of all its calls, each user's share."""

import asyncio

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.scope import ScopeKind
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Purpose, Role
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits, Rates
from tests.callwise.budget.batch.batch_service import BatchService


def embed(text: str) -> Call:
    """Return a call to embed a text that no other call may answer."""
    return Call(Role.EMBED, Purpose.EMBED, inputs=(text,), share=False)


def times_of(rate: RateLimits, users: list[str], calls_each: int) -> list[float]:
    """Return when requests arrive of users that embed so many texts at the same time."""
    service = BatchService(seconds=0.5)

    async def main() -> None:
        budgeter = Budgeter(
            {Role.EMBED: Endpoint("vectors", "e", service)},
            clock=LoopClock(),
            load=LoadKnobs(batch=BatchKnobs(), rate=rate),
        )

        async def one(user: str) -> None:
            with budgeter.scope(ScopeKind.CONVERSATION, user, user=user):
                asked = [embed(f"{user} text {number}") for number in range(calls_each)]
                await asyncio.gather(*(budgeter.ask(call) for call in asked))

        await asyncio.gather(*(one(user) for user in users))

    run_in_virtual_time(main())
    return list(service.times)


def test_a_batch_is_one_request_of_the_limit() -> None:
    """160 texts in five requests: two leave, and the others by two per minute."""
    limits = RateLimits(requests_per_minute=2, slack_seconds=0.0)
    assert times_of(limits, ["a"], 160) == [0.0, 0.0, 30.0, 60.0, 90.0]


def test_a_batch_takes_the_tokens_of_all_its_calls() -> None:
    """20 batches of 96 tokens at 960 per minute: half of them within a minute, all after it."""
    limits = RateLimits(tokens_per_minute=960, slack_seconds=0.0)
    times = times_of(limits, ["a"], 640)
    assert len(times) == 20
    assert sum(time < 1 for time in times) <= 10
    assert 54 <= times[-1] <= 66


def test_a_batch_waits_for_the_limit_of_any_of_its_users() -> None:
    """At one request per minute for each user: a's and b's leave, the one of both waits."""
    limits = RateLimits(user=Rates(requests_per_minute=1), slack_seconds=0.0)
    assert times_of(limits, ["a", "b"], 48) == [0.0, 0.0, 60.0]
