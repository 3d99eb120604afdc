"""Layer `route`: picks the endpoint of an attempt, and counts for its breaker how it ended.

An attempt that still waits for its turn at an endpoint whose breaker opens is given to another
one, within the same reservation: nothing of it was sent. Invariant: an attempt that was sent
never goes to a second endpoint; only `retry` begins another.

Where all endpoints are down, an attempt waits for the first trial, as long as
`load.breaker.wait_seconds` and its deadline let it. The first to come is the trial, the others go
on waiting until it has ended: by a success for all of them, or by another wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from callwise.budget.breaker import Breaker, Breakers, shows_nothing
from callwise.budget.clock import Clock
from callwise.budget.router import Router
from callwise.budget.work import Work
from callwise.calls.errors import BatchFailed, CallError, CallTimeout, EndpointDown
from callwise.calls.reply import Reply

__all__ = ["RouteLayer"]


LEAST_WAIT_SECONDS = 0.001
"""Shortest wait for an endpoint: a rest of a sum of times may be too small to move a clock."""


class RouteLayer:
    """Gives each attempt to an endpoint that is not down."""

    def __init__(
        self,
        router: Router,
        breakers: Breakers,
        clock: Clock,
        *,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._router = router
        self._breakers = breakers
        self._clock = clock
        self._next = next
        self._waiting: dict[Work, asyncio.Task[Any] | None] = {}
        self._woken: dict[Work, asyncio.Task[Any]] = {}
        self._elsewhere = 0
        self._rerouted = 0
        self._outages: dict[Work, asyncio.Future[None]] = {}
        breakers.on_open = self._reroute
        breakers.on_close = self._wake

    def __call__(self, carried: Work) -> Awaitable[Reply]:
        """Return the reply of the layer below.

        Raises:
            EndpointDown: when all endpoints are down; nothing was sent.
            CallError: how the attempt ended.
            RunStopped: when all endpoints have been down for so long that the run stops.
        """
        if not carried.asked.alternatives and self._breakers.is_quiet(carried.asked):
            return self._next(carried)
        return self._routed(carried)

    def statistics(self) -> Mapping[str, int]:
        """Return attempts that another endpoint than the asked one served, and the breakers."""
        return {
            "elsewhere": self._elsewhere,
            "rerouted": self._rerouted,
            **self._breakers.statistics(),
        }

    async def _routed(self, work: Work) -> Reply:
        router = self._router
        while True:
            trial = await self._chosen(work)
            endpoint = work.endpoint
            if endpoint is not work.asked:
                self._elsewhere += 1
            if trial is None:
                self._waiting[work] = asyncio.current_task()
            try:
                reply = await self._next(work)
            except CallError as error:
                self._failed(work, error, trial)
                raise
            except asyncio.CancelledError:
                if not self._was_woken(work):
                    raise
                self._go_elsewhere(work)
            else:
                self._breakers.attempt_ended(endpoint, None, trial)
                return reply
            finally:
                self._waiting.pop(work, None)
                if self._woken:
                    self._was_woken(work)  # where it ended in the same step
                router.end(endpoint)
                if trial is not None:
                    trial.end_trial()
                    self._wake()

    async def _chosen(self, work: Work) -> Breaker | None:
        """Return the breaker of a trial, once an endpoint may be asked; see `Router.choose`."""
        while True:
            try:
                return self._router.choose(work)
            except EndpointDown as down:
                left_seconds, trial_seconds = self._router.outage_seconds(work)
                if left_seconds < trial_seconds + LEAST_WAIT_SECONDS:
                    if work.outage_seconds:
                        down.add_note(
                            f"it has waited for {work.outage_seconds:g} s, and the next trial is "
                            "later than load.breaker.wait_seconds or the deadline"
                        )
                    raise
            began = self._clock.now()
            await self._outage(work, max(trial_seconds or left_seconds, LEAST_WAIT_SECONDS))
            seconds = self._clock.now() - began
            work.outage_seconds += seconds
            work.queue_seconds += seconds
            work.left_seconds = work.seconds_left()

    async def _outage(self, work: Work, seconds: float) -> None:
        """Wait for so long, or until a trial has ended or a breaker has closed."""
        change = self._outages[work] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.now() + seconds, lambda: _set(change))
        try:
            await change
        finally:
            timer.cancel()
            self._outages.pop(work, None)

    def _wake(self) -> None:
        """Let the calls that wait for an endpoint choose again, in the order in which they came."""
        for change in self._outages.values():
            _set(change)

    def _failed(self, work: Work, error: CallError, trial: Breaker | None) -> None:
        self._waiting.pop(work, None)
        # A request that carried several calls is one attempt at the endpoint.
        cause = (error.cause or error) if isinstance(error, BatchFailed) else error
        if not (work.was_carried or shows_nothing(cause) or _is_cut(work, cause)):
            self._breakers.attempt_ended(work.endpoint, cause, trial)
        self._router.failed(work, error)

    def _go_elsewhere(self, work: Work) -> None:
        """Count an attempt that was woken before it was sent.

        Raises:
            CallTimeout: when it was sent all the same, in the step before it woke.
        """
        if work.sent_count:
            raise CallTimeout(f"{work.endpoint.name}: given up, it has just failed") from None
        self._rerouted += 1

    def _was_woken(self, work: Work) -> bool:
        """Return whether an attempt was cancelled here, and not by its caller."""
        task = self._woken.pop(work, None)
        return task is not None and task.uncancel() == 0

    def _reroute(self) -> None:
        """Wake attempts that wait for their turn at an endpoint that is down now."""
        for work, task in tuple(self._waiting.items()):
            is_sent = work.sent_count > 0 or work.was_carried or self._router.takes_long(work)
            if task is not None and not is_sent and self._breakers.refuses(work.endpoint):
                del self._waiting[work]
                self._woken[work] = task
                task.cancel()


def _set(change: "asyncio.Future[None]") -> None:
    if not change.done():
        change.set_result(None)


def _is_cut(work: Work, error: CallError) -> bool:
    """Return whether a deadline of the call has ended its attempt, which shows nothing."""
    if not isinstance(error, CallTimeout):
        return False
    return work.is_cut_by_deadline or work.seconds_left() == 0
