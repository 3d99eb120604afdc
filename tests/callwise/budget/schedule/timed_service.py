"""Service in virtual time, and a budgeter that schedules calls to it."""

import asyncio
import random

from callwise.budget import Budgeter, RetryPolicy
from callwise.budget.clock import LoopClock
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.call import Priority, Sampling
from callwise.calls.errors import RateLimited
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply, ReportedUsage

ONCE = RetryPolicy(rate_limited_attempts=1, timeout_attempts=1)


class TimedClient:
    """A service in the time of the loop: it answers after a while, and has a capacity.

    Attributes:
        sent: (time of the loop, the call's text), in the order of sending.
        under_way: requests that it is serving now.
        most_under_way: most of these.
        refused: requests answered with 429.
    """

    is_simulated = False

    def __init__(
        self,
        seconds=1.0,
        *,
        capacity=None,
        jitter=0.0,
        retry_after_seconds=None,
        refusal_seconds=0.0,
    ):
        self._seconds = seconds
        self._jitter = jitter
        self._random = random.Random(0)
        self._retry_after_seconds = retry_after_seconds
        self._refusal_seconds = refusal_seconds
        self.capacity = capacity
        self.sent = []
        self.under_way = self.most_under_way = self.refused = self.answered = 0

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one call after its time, or refuse it."""
        (call,) = calls
        text = call.messages[-1].content if call.messages else call.inputs[0]
        self.sent.append((asyncio.get_running_loop().time(), text))
        if on_sent is not None:
            on_sent(0)
        if self.capacity is not None and self.under_way >= self.capacity:
            self.refused += 1
            await asyncio.sleep(self._refusal_seconds)
            return [RateLimited("429", retry_after_seconds=self._retry_after_seconds)]
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            spread = 1 + self._jitter * (2 * self._random.random() - 1)
            await asyncio.sleep(self._seconds * spread)
        finally:
            self.under_way -= 1
        self.answered += 1
        vectors = tuple((1.0,) for _ in call.inputs)
        return [Reply("" if vectors else text, vectors=vectors, usage=ReportedUsage(10, 5))]

    async def aclose(self):
        """Do nothing."""

    @property
    def order(self):
        """The texts in the order of sending."""
        return [text for _, text in self.sent]


def call(text, priority=Priority.NORMAL, **fields):
    """Return a call that is not shared."""
    return Call(
        fields.pop("role", Role.MAIN),
        fields.pop("purpose", Purpose.REASON),
        fields.pop("messages", (Message("user", text),)),
        sampling=fields.pop("sampling", Sampling(temperature=1.0)),
        priority=priority,
        **fields,
    )


def scheduled(client, *, limits=None, retry=ONCE, recorder=None, **knobs):
    """Return a budgeter whose main role is served by a client, with a schedule."""
    endpoint = Endpoint("local", "m", client)
    return Budgeter(
        {Role.MAIN: endpoint, Role.EMBED: Endpoint("vectors", "e", client)},
        clock=LoopClock(),
        limits=limits,
        recorder=recorder,
        retry=retry,
        load=LoadKnobs(schedule=ScheduleKnobs(**knobs)),
    )


def outcomes(budgeter):
    """Return the outcomes of the run that occurred."""
    return {outcome: n for outcome, n in budgeter.run.counts().outcomes.items() if n}


async def ends(*asking):
    """Return the texts or the errors of several calls."""
    found = await asyncio.gather(*asking, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each.text for each in found]


def check_idle(budgeter, client):
    """Check that nothing is taken, waits, or is set as a timer."""
    budgeter.ledger.check()
    assert client.under_way == 0
    layer = budgeter._call_path.layers["schedule"]
    assert layer._slots.taken == 0
    for lane in layer._lanes.values():
        assert (lane.running, lane.waiting, len(lane._queue)) == (0, 0, 0)
        assert not lane._timer.is_set
    counts = budgeter.run.counts()
    assert counts.in_flight == 0
    assert counts.requests == len(client.sent)
    statistics = layer.statistics()
    assert (statistics["waiting"], statistics["running"]) == (0, 0)
