"""Layer `hedge`: an attempt that is slow gets a second one next to it, and the faster counts.

Off by default (`load.route.hedge_seconds`, `hedge_percentile`). The second attempt reserves,
settles and is counted like any other, so limits bind it and the call's row has both. It goes to
another endpoint where there is one that is not down. The slower attempt is cancelled, and has come
to rest before the answer is returned: what it has spent is known by then, or counted as unknown.

Only a success wins: an attempt that fails leaves the answer to the other. One that is overtaken
at another endpoint counts as failed for its breaker, so that an endpoint which hangs is not asked
first for ever. Calls whose answer is streamed to a listener are never hedged, since pieces of two
answers would be given out; nor are background calls, for which none waits.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from callwise.budget.breaker import Breakers
from callwise.budget.clock import Clock, Timer
from callwise.budget.token_estimate import Estimator
from callwise.budget.work import Work
from callwise.calls.call import Priority, Purpose
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.reply import Reply

if TYPE_CHECKING:
    from callwise.budget.in_flight import InFlightCall

__all__ = ["HedgeLayer"]

MAX_KEPT = 200
"""Latest attempts of one purpose whose times are kept."""

MIN_KEPT = 20
"""Fewest of them from which a percentile is taken."""


class _SecondAttempt(Work):
    """The work of a second attempt; whichever call pays for the first pays for it too."""

    def __init__(self, first: Work, estimator: Estimator, clock: Clock) -> None:
        self._first = first
        super().__init__(first.payer, estimator, clock)
        self.sent_call = first.sent_call
        self.serve_by(first.endpoint)
        self.tried = first.tried | {first.endpoint.identity}

    @property
    def payer(self) -> "InFlightCall":
        """The call that pays for the first attempt now."""
        return self._first.payer

    @payer.setter
    def payer(self, payer: "InFlightCall") -> None:
        del payer


class HedgeLayer:
    """Begins second attempts, by the knobs of the endpoint that is asked."""

    def __init__(
        self,
        clock: Clock,
        estimator: Estimator,
        load_of: Callable[[Endpoint], LoadKnobs],
        breakers: Breakers,
        *,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._clock = clock
        self._estimator = estimator
        self._load_of = load_of
        self._breakers = breakers
        self._next = next
        self._seconds: dict[tuple[str, str, Purpose], deque[float]] = {}
        self._attempts = 0
        self._hedged = 0
        self._won = 0

    def __call__(self, carried: Work) -> Awaitable[Reply]:
        """Return the reply of the faster attempt.

        Raises:
            CallError: how the first attempt ended, where none has a reply.
        """
        load = self._load_of(carried.asked)
        knobs = load.route
        takes = Priority.BACKGROUND if load.background is None else load.background.takes
        is_background = carried.priority >= takes
        if knobs is None or not knobs.is_hedging or carried.call.listener or is_background:
            return self._next(carried)
        return self._hedged_after(carried, knobs)

    def statistics(self) -> Mapping[str, int]:
        """Return the second attempts that were begun, and how many of them were the faster."""
        return {"hedged": self._hedged, "won": self._won}

    async def _hedged_after(self, work: Work, knobs: RouteKnobs) -> Reply:
        self._attempts += 1
        began = self._clock.now()
        kept = self._seconds.setdefault(
            (work.asked.name, work.asked.model, work.call.purpose), deque(maxlen=MAX_KEPT)
        )
        delay_seconds = _delay_seconds(knobs, kept)
        if delay_seconds is None:
            reply = await self._next(work)
        else:
            reply = await self._faster(work, delay_seconds, knobs.hedge_share)
        kept.append(self._clock.now() - began - work.queue_seconds)
        return reply

    async def _faster(self, work: Work, delay_seconds: float, share: float) -> Reply:
        loop = asyncio.get_running_loop()
        first = loop.create_task(self._attempt(work))
        second: asyncio.Task[Reply] | None = None
        other: _SecondAttempt | None = None
        began = self._clock.now()
        try:
            await self._wait_until_slow(first, work, delay_seconds)
            if not first.done() and self._hedged < share * self._attempts:
                other = _SecondAttempt(work, self._estimator, self._clock)
                if other.reserve() is None:
                    self._hedged += 1
                    second = loop.create_task(self._attempt(other))
            return await self._winner(first, second)
        finally:
            tasks = [task for task in (first, second) if task is not None and not task.done()]
            for task in tasks:
                task.cancel()
            try:
                if tasks:
                    await asyncio.wait(tasks)
            finally:
                # Read in any case: asyncio reports an error that was never read.
                has_first, has_second = _has_reply(first), _has_reply(second)
                is_won = has_second and not has_first
                if other is not None:
                    if is_won and first.cancelled() and other.endpoint is not work.endpoint:
                        seconds = self._clock.now() - began
                        self._breakers.attempt_overtaken(work.endpoint, seconds)
                    _merge(work, other, is_won=is_won)

    async def _attempt(self, work: Work) -> Reply:
        return await self._next(work)

    async def _wait_until_slow(
        self, first: "asyncio.Task[Reply]", work: Work, seconds: float
    ) -> None:
        """Wait until an attempt has ended, or is under way for so long.

        Its wait for its turn does not count: an endpoint without a free place is not slow, and
        a second attempt would wait there too.
        """
        loop, began = asyncio.get_running_loop(), self._clock.now()
        while not first.done():
            due: asyncio.Future[None] = loop.create_future()
            on_due = partial(_set, due)
            timer: Timer | None = None
            if work.is_waiting:
                work.on_turn = on_due
            else:
                due_seconds = began + work.queue_seconds + seconds
                if self._clock.now() >= due_seconds:
                    return
                timer = self._clock.call_at(due_seconds, on_due)
            try:
                await asyncio.wait((first, due), return_when=asyncio.FIRST_COMPLETED)
            finally:
                work.on_turn = None
                if timer is not None:
                    timer.cancel()
                due.cancel()

    async def _winner(
        self, first: "asyncio.Task[Reply]", second: "asyncio.Task[Reply] | None"
    ) -> Reply:
        """Return the first reply of two attempts; raise the first one's error without any."""
        running = {task for task in (first, second) if task is not None}
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in (first, second):
                if task in done and not isinstance(task.exception(), CallError):
                    self._won += task is second
                    return task.result()
        return first.result()


def _delay_seconds(knobs: RouteKnobs, kept: "deque[float]") -> float | None:
    """Return after which time an attempt is slow; None where that is not known yet."""
    if knobs.hedge_percentile is None or len(kept) < MIN_KEPT:
        return knobs.hedge_seconds
    return sorted(kept)[int(len(kept) * knobs.hedge_percentile / 100)]


def _set(due: "asyncio.Future[None]") -> None:
    if not due.done():
        due.set_result(None)


def _has_reply(task: "asyncio.Task[Reply] | None") -> bool:
    is_done = task is not None and task.done() and not task.cancelled()
    return task is not None and is_done and task.exception() is None


def _merge(work: Work, other: Work, *, is_won: bool) -> None:
    """Count a second attempt in the work of the first, and note how the answer came."""
    other.close()
    # The two attempts overlap: their time is that of the first.
    work.usage += other.usage._replace(work_microseconds=0, queue_microseconds=0)
    work.tried |= other.tried
    delivery = work.delivery
    if is_won:
        work.serve_by(other.endpoint)
        work.usage_note = other.usage_note
        delivery = other.delivery
    is_hedged = bool(other.usage.attempts)
    work.delivery = delivery._replace(hedges=work.delivery.hedges + is_hedged)
