"""Invariants of calls that share a cache, whatever its tiers and however calls end."""

import asyncio
from collections import Counter
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from callwise.budget import Budgeter, Limits, RetryPolicy
from callwise.budget.cache_tiers import TieredCache
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import Call, CallError, Endpoint, Message, Outcome, Purpose, Reply, Role
from callwise.calls.errors import BadRequest
from tests.callwise.budget.cache.slow_tier import SlowTier
from tests.callwise.budget.conftest import MemoryRecorder


class PausingClient:
    """Answers after some turns of the loop, or fails, as a seed decides."""

    is_simulated = False

    def __init__(self, seed):
        self._draw = Random(seed)
        self.answered = Counter()
        self.sent = 0

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one call."""
        (call,) = calls
        fails = self._draw.random() < 0.2
        self.sent += 1
        on_sent(0)
        for _ in range(self._draw.randrange(6)):
            await asyncio.sleep(0)
        if fails:
            return [BadRequest("no", status=400)]
        self.answered[call.messages[0].content] += 1
        return [Reply(call.messages[0].content)]

    async def aclose(self):
        """Do nothing."""


def tiers(kind, turns):
    """Return a cache that never drops anything."""
    memory, slow, last = MemoryCache(), SlowTier(turns), SlowTier(2 * turns)
    return {
        "memory": memory,
        "slow": slow,
        "two": TieredCache([memory, slow]),
        "three": TieredCache([memory, slow, last], written_back=[last]),
    }[kind]


def budgeter_of(client, **parts):
    """Return a budgeter on a client."""
    endpoint = Endpoint("fake", "m", client)
    retry = RetryPolicy(first_wait_seconds=0.0)
    return Budgeter(dict.fromkeys(Role, endpoint), retry=retry, **parts)


def call(prompt):
    """Return a call that may share."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", f"{prompt}"),), share=True)


async def ask(budgeter, prompt, starts_after, cancel_after=None):
    """Ask after some turns of the loop, and leave after some more."""
    for _ in range(starts_after):
        await asyncio.sleep(0)
    task = asyncio.ensure_future(budgeter.ask(call(prompt)))
    if cancel_after is not None:
        for _ in range(cancel_after):
            await asyncio.sleep(0)
        task.cancel()
    try:
        return (await task).text
    except (CallError, asyncio.CancelledError):
        return None


kinds = st.sampled_from(["memory", "slow", "two", "three"])
asked = st.tuples(st.integers(0, 2), st.integers(0, 25))
cancelled = st.none() | st.integers(1, 12)


@given(
    st.lists(st.tuples(asked, cancelled), max_size=24),
    kinds,
    st.integers(1, 5),
    st.integers(0, 2**16),
    st.none() | st.integers(0, 12),
)
@example([((0, 0), None), ((1, 4), None), ((1, 0), None)], "slow", 1, 16, None)
def test_an_answer_that_was_kept_is_never_paid_for_again(plan, kind, turns, seed, max_calls):
    """Callers that come and leave at any moment: one answer per prompt, and every call counted."""

    async def check():
        client, cache = PausingClient(seed), tiers(kind, turns)
        budgeter = budgeter_of(client, cache=cache, limits=Limits(max_calls=max_calls))
        asks = (ask(budgeter, *when, cancel_after) for when, cancel_after in plan)
        texts = await asyncio.gather(*asks)
        assert all(
            text in (None, f"{prompt}") for text, ((prompt, _), _) in zip(texts, plan, strict=True)
        )
        rows = budgeter.ledger.rows
        assert len(rows) == len(plan)
        assert client.sent == sum(row.requests for row in rows)
        # The last caller may leave while a slow tier is written: then nothing is kept.
        left = {f"{prompt}" for (prompt, _), after in plan if after is not None}
        for prompt, count in client.answered.items():
            assert count == 1 or (kind == "slow" and prompt in left)
        totals = Counter(row.outcome for row in rows)
        assert budgeter.statistics()["cache"]["hits"] == totals[Outcome.CACHED]
        admitted = len(rows) - totals[Outcome.REFUSED]
        assert max_calls is None or admitted <= max_calls
        budgeter.ledger.check()
        assert budgeter.in_flight == 0
        await budgeter.aclose()

    asyncio.run(check())


@given(st.lists(asked, max_size=16), kinds, st.integers(0, 2**16))
def test_a_strict_replay_has_the_same_answers_and_sends_nothing(plan, kind, seed):
    """Which calls were cached is in the recording; a replay needs no cache."""

    async def check():
        recorder, client = MemoryRecorder(), PausingClient(seed)
        live = budgeter_of(client, cache=tiers(kind, 2), recorder=recorder)
        texts = await asyncio.gather(*(ask(live, *each) for each in plan))
        replay = budgeter_of(PausingClient(seed), cache=tiers(kind, 3), recorder=recorder.played())
        assert await asyncio.gather(*(ask(replay, prompt, 0) for prompt, _ in plan)) is not None
        rows = replay.ledger.rows
        assert {row.outcome for row in rows} <= {Outcome.REPLAYED}
        assert sum(row.requests for row in rows) == client.sent
        paid = Counter(text for text in texts if text is not None)
        assert sum(row.error is None for row in rows) == paid.total()
        for each in (live, replay):
            await each.aclose()

    asyncio.run(check())
