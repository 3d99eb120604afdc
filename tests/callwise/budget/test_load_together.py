"""All layers of load together, in virtual time: nothing is lost, doubled or left open."""

import asyncio
import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from callwise.budget import Budgeter, Limits, RetryPolicy
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Priority, Purpose, Reply, Role
from callwise.calls.call import Sampling
from callwise.calls.errors import CallError, ConnectionFailed, RateLimited, ServerFailed
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import ReportedUsage

LOAD = LoadKnobs(
    schedule=ScheduleKnobs(
        max_concurrency=3, is_adaptive=True, overload="shed", max_waiting=40, aged_every=4
    ),
    rate=RateLimits(requests_per_minute=1_200, user={"requests_per_minute": 600}),
    batch=BatchKnobs(embedding_size=8),
    breaker=BreakerKnobs(),
)


class FaultyClient:
    """A service that fails, refuses and hangs by chance, and counts what arrives.

    Attributes:
        arrived: requests.
        under_way: requests that it has not answered.
    """

    is_simulated = False

    def __init__(self, seed, *, is_dead=False):
        self._chance = random.Random(seed)
        self._is_dead = is_dead
        self.arrived = self.under_way = 0

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one call, or fail."""
        (call,) = calls
        self.arrived += 1
        self.under_way += 1
        if on_sent is not None:
            on_sent(0)
        try:
            return [await self._end(call)]
        finally:
            self.under_way -= 1

    async def _end(self, call) -> Reply | CallError:
        await asyncio.sleep(self._chance.random())
        draw = self._chance.random()
        if self._is_dead:
            return ConnectionFailed("reset")
        if draw < 0.1:
            return RateLimited("429", retry_after_seconds=self._chance.choice((None, 0.5)))
        if draw < 0.15:
            return ServerFailed("broken", status=500)
        if draw < 0.2:
            await asyncio.sleep(30.0)
        vectors = tuple((float(len(text)),) for text in call.inputs)
        text = "" if vectors else call.messages[-1].content
        return Reply(text, vectors=vectors, usage=ReportedUsage(10 * len(call.inputs) or 10, 5))

    async def aclose(self):
        """Do nothing."""


async def ask_randomly(budgeter, chance, number):
    """Ask one call of a random kind, as one of three users; return whether the answer fits."""
    deadline = chance.choice((None, None, 0.8, 5.0))
    common = {"priority": Priority(chance.randrange(5)), "deadline_seconds": deadline}
    with budgeter.scope("conv", f"{number}", user=chance.choice("abc")):
        if chance.random() < 0.4:
            text = "x" * chance.randrange(1, 30)
            reply = await budgeter.ask(Call(Role.EMBED, Purpose.EMBED, inputs=(text,), **common))
            return reply.vectors == ((float(len(text)),),)
        text, temperature = f"{chance.randrange(60)}", chance.choice((0.0, 1.0))
        messages, sampling = (Message("user", text),), Sampling(temperature=temperature)
        asked = Call(Role.MAIN, Purpose.REASON, messages, sampling=sampling, **common)
        return (await budgeter.ask(asked)).text == text


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
@example(seed=9009)  # a call's time ends a rounding error before that of the one it joined
def test_everything_is_settled_whatever_happens(seed):
    """Schedule, limits, batches, breakers and a dead endpoint, with cancellations at any time."""

    async def main():
        chance = random.Random(seed)
        clients = [FaultyClient(seed + each, is_dead=each == 1) for each in range(3)]
        spare = Endpoint("spare", "m", clients[1])
        endpoints = {
            Role.MAIN: Endpoint("local", "m", clients[0], alternatives=(spare,)),
            Role.EMBED: Endpoint("vectors", "e", clients[2]),
        }
        budgeter = Budgeter(
            endpoints,
            clock=LoopClock(),
            limits=Limits(max_requests=1_000, max_tokens=10_000_000),
            retry=RetryPolicy(),
            load=LOAD,
        )
        tasks = []
        for number in range(80):
            tasks.append(asyncio.ensure_future(ask_randomly(budgeter, chance, number)))
            await asyncio.sleep(chance.choice((0, 0, 0.01, 0.3)))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return budgeter, clients, found

    budgeter, clients, found = run_in_virtual_time(main())
    budgeter.ledger.check()
    assert all(
        each is True or isinstance(each, CallError | asyncio.CancelledError) for each in found
    )
    assert sum(client.under_way for client in clients) == 0
    counts = budgeter.run.counts()
    assert counts.in_flight == 0
    assert counts.requests == sum(client.arrived for client in clients)
    left = budgeter.run.scope_limits.remaining(budgeter.run.position)
    assert left.requests_left == 1_000 - counts.requests
    schedule = budgeter._call_path.layers["schedule"]
    assert schedule._slots.taken == 0
    for lane in schedule._lanes.values():
        assert (lane.running, lane.waiting, len(lane._queue)) == (0, 0, 0)
        assert not lane._timer.is_set
