"""Layer `retry`: one attempt after another, until there is a reply or none is due.

Each further attempt is due by the class of the last error (`RetryPolicy`), while time and quota
are left, and is reserved before its wait begins. The wait is on the clock; its jitter is drawn
from the seed, the call's key and the attempt. A wait that would pass the deadline is not begun.

An answer that its token limit ended before it began, because the model thought first, is asked
for again with twice the tokens, four times at most. Once a piece of a streamed answer was given
out the call is not tried again: the caller has seen half of another answer.
"""

from collections.abc import Awaitable, Callable, Mapping
from random import Random

from callwise.budget.clock import Clock
from callwise.budget.health import EndpointHealth, EndpointState, is_outage
from callwise.budget.work import Work
from callwise.calls.errors import (
    BudgetStoreLost,
    CallError,
    CallRefused,
    EmptyAnswer,
    ModelLoading,
    ParameterRefused,
)
from callwise.calls.reply import Reply
from callwise.calls.retry import RetryPolicy

__all__ = ["RetryLayer"]

MAX_GROWTH = 4
"""Most that `max_tokens` is multiplied by for an answer that was cut before it began."""


class _Failures:
    """The failed attempts at one call that are counted apart from the others."""

    __slots__ = ("learned", "polled", "polled_seconds", "probe")

    def __init__(self, probe: EndpointState | None) -> None:
        self.probe = probe
        self.learned = self.polled = 0
        self.polled_seconds = 0.0


class RetryLayer:
    """Repeats attempts, by `policy` where the endpoint has none; `seed` is that of the jitter."""

    def __init__(
        self,
        clock: Clock,
        policy: RetryPolicy,
        seed: int,
        health: EndpointHealth,
        *,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._seed = seed
        self._health = health
        self._next = next
        self._retries = 0

    async def __call__(self, carried: Work) -> Reply:
        """Return the reply of the first attempt that has one. Its reservation is made.

        Raises:
            CallError: how the last attempt ended, with a note on why there is no other.
        """
        health = self._health
        probe = health.admit(carried.endpoint)
        failures: _Failures | None = None
        last: CallError | None = None
        try:
            while True:
                try:
                    reply = await self._next(carried)
                except (CallRefused, BudgetStoreLost) as refusal:
                    if last is None:
                        raise
                    last.add_note(f"not tried again: {refusal}")
                    raise last from None
                except CallError as error:
                    last = error
                    failures = failures or _Failures(probe)
                    wait_seconds = self._wait_before_next(carried, error, failures)
                    if wait_seconds is None:
                        raise
                else:
                    health.answered(carried.endpoint)
                    return reply
                self._retries += 1
                carried.add_retry_seconds(wait_seconds)
                await self._clock.sleep(wait_seconds)
        finally:
            if probe is not None:
                probe.is_probed = False  # if this call did not find out, another may

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were repeated."""
        return {"retries": self._retries}

    def _wait_before_next(self, work: Work, error: CallError, failures: _Failures) -> float | None:
        """Reserve another attempt and return the wait before it; None when none is due."""
        if work.was_given_out:
            error.add_note("not tried again: part of the answer was given out")
            self._judge_health(work, error)
            return None
        is_loading = isinstance(error, ModelLoading)
        failures.learned += isinstance(error, ParameterRefused)
        failures.polled += is_loading
        attempt = work.usage.attempts - failures.learned - failures.polled
        policy = work.endpoint.retry or self._policy
        wait_seconds = None
        if failures.probe is None or not is_outage(error):
            wait_seconds = policy.wait_seconds(
                error,
                attempt=attempt,
                draw=Random(f"{self._seed}:{work.key}:{attempt}"),
                alike=failures.polled if is_loading else failures.learned,
                waited_seconds=failures.polled_seconds,
            )
        if wait_seconds is None:
            self._judge_health(work, error)
            return None
        left_seconds = work.seconds_left()
        if left_seconds is not None and wait_seconds >= left_seconds:
            error.add_note(f"not tried again: {left_seconds:g} seconds left")
            return None
        if isinstance(error, EmptyAnswer) and error.is_cut:
            work.ask_for_more(MAX_GROWTH)
        refusal = work.reserve()
        if refusal is not None:
            error.add_note(f"not tried again: {refusal}")
            return None
        if is_loading:
            failures.polled_seconds += wait_seconds
            self._health.loading(work.endpoint, max_seconds=policy.model_loading_seconds)
        return wait_seconds

    def _judge_health(self, work: Work, error: CallError) -> None:
        """Note what the end of the last attempt means for the endpoint."""
        if not is_outage(error):
            self._health.answered(work.endpoint)
        elif not work.is_cut_by_deadline:
            policy = work.endpoint.retry or self._policy
            self._health.failed(work.endpoint, error, down_seconds=policy.down_seconds)
