"""Layer `retry`: one attempt after another, until there is a reply or none is due.

Each further attempt is due by the class of the last error (`RetryPolicy`), while time and quota
are left, and is reserved before its wait begins. The wait is on the clock; its jitter is drawn
from the seed, the call's key and the attempt. A wait that would pass the deadline is not begun.

Where another endpoint may serve the call that it has not tried yet, the next attempt goes there
immediately, once for each, and the policy's numbers do not count it.

An answer that its token limit ended before it began, because the model thought first, is asked
for again with twice the tokens, four times at most. Once a piece of a streamed answer was given
out the call is not tried again: the caller has seen half of another answer.

A person who waits is shown, in passing, which attempt has failed at which endpoint, by which kind
of error, and when the next begins; and an endpoint that does not answer for long.
"""

from collections.abc import Awaitable, Callable, Mapping
from random import Random

from callwise.budget.breaker import Breakers, is_outage, shows_nothing
from callwise.budget.clock import Clock
from callwise.budget.router import Router
from callwise.budget.work import Work
from callwise.calls.call import Priority
from callwise.calls.errors import (
    BatchFailed,
    BudgetStoreLost,
    CallError,
    CallRefused,
    EmptyAnswer,
    EndpointDown,
    ModelLoading,
    ParameterRefused,
    RateLimited,
)
from callwise.calls.reply import Reply
from callwise.calls.retry import RetryPolicy

__all__ = ["RetryLayer"]

MAX_GROWTH = 4
"""Most that `max_tokens` is multiplied by for an answer that was cut before it began."""


RETRY_NOTICE_SECONDS = 10.0
"""Time for which a failed attempt at an endpoint is shown for all of the same number."""

SLOW_SECONDS = 15.0
"""Time without an answer after which the wait is shown, and again after as long."""


class _Notices:
    """Shows what calls wait for, an endpoint now and then. No text of an error is in it."""

    def __init__(self, clock: Clock, notify: Callable[[str], None]) -> None:
        self.clock = clock
        self._notify = notify
        self._shown_at_seconds: dict[tuple[str, str], float] = {}

    def failed(self, work: Work, error: CallError, *, attempt: str, wait_seconds: float) -> None:
        """Show that an attempt has failed, and when the next begins."""
        status = getattr(error, "status", None)
        kind = f"{type(error).__name__}{'' if status is None else f', status {status}'}"
        text = f"attempt {attempt} failed ({kind}); next in {wait_seconds:.1f} s"
        self.show(attempt, work, RETRY_NOTICE_SECONDS, text)

    def show(self, kind: str, work: Work, pause_seconds: float, text: str) -> None:
        """Show a text, unless one of its kind was shown of the endpoint so shortly before."""
        now, endpoint = self.clock.now(), work.endpoint
        last = self._shown_at_seconds.get((endpoint.name, kind))
        if last is None or now - last >= pause_seconds:
            self._shown_at_seconds[endpoint.name, kind] = now
            self._notify(f"{work.call.role} at {endpoint.name} ({endpoint.model}): {text}")


class _Wait:
    """One attempt's wait for its answer, shown until it ends."""

    def __init__(self, notices: _Notices, work: Work) -> None:
        self._notices, self._work = notices, work
        self._began_seconds = notices.clock.now()
        self._start()

    def _start(self) -> None:
        clock = self._notices.clock
        self._timer = clock.call_at(clock.now() + SLOW_SECONDS, self._show)

    def _show(self) -> None:
        passed = self._notices.clock.now() - self._began_seconds
        text = f"no answer for {passed:.0f} s, still waiting"
        self._notices.show("slow", self._work, SLOW_SECONDS, text)
        self._start()

    def end(self) -> None:
        """Show nothing more."""
        self._timer.cancel()


class _Failures:
    """The failed attempts at one call that are counted apart from the others."""

    __slots__ = ("elsewhere", "last", "learned", "polled", "polled_seconds")

    def __init__(self) -> None:
        self.learned = self.polled = self.elsewhere = 0
        self.polled_seconds = 0.0
        self.last: CallError | None = None


class RetryLayer:
    """Repeats attempts, by `policy` where the endpoint has none; `seed` is that of the jitter.

    `notify` is called with what is shown to a person; None, and a virtual clock, show nothing.
    """

    def __init__(
        self,
        clock: Clock,
        policy: RetryPolicy,
        seed: int,
        breakers: Breakers,
        router: Router,
        *,
        notify: Callable[[str], None] | None = None,
        next: Callable[[Work], Awaitable[Reply]],  # noqa: A002
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._seed = seed
        self._breakers = breakers
        self._router = router
        is_shown = notify is not None and not clock.is_virtual
        self._notices = _Notices(clock, notify) if notify is not None and is_shown else None
        self._send = next
        self._next = next if self._notices is None else self._watched
        self._retries = self._rate_limited = 0

    async def __call__(self, carried: Work) -> Reply:
        """Return the reply of the first attempt that has one. Its reservation is made.

        Raises:
            CallError: how the last attempt ended, with a note on why there is no other.
        """
        failures: _Failures | None = None
        while True:
            try:
                reply = await self._next(carried)
            except (EndpointDown, CallRefused, BudgetStoreLost) as refusal:
                last = None if failures is None else failures.last
                if last is None:
                    raise
                # It ended while this call waited: its own last error is more precise.
                if not isinstance(refusal, EndpointDown):
                    last.add_note(f"not tried again: {refusal}")
                raise last from None
            except CallError as error:
                cause = error.cause if isinstance(error, BatchFailed) else error
                self._rate_limited += isinstance(cause, RateLimited)
                failures = failures or _Failures()
                failures.last = error
                wait_seconds = self._wait_before_next(carried, error, failures)
                if wait_seconds is None:
                    self._router.stop_for(carried, error)
                    raise
            else:
                self._breakers.call_answered(carried.endpoint)
                return reply
            self._retries += 1
            carried.add_retry_seconds(wait_seconds)
            await self._clock.sleep(wait_seconds)

    async def _watched(self, work: Work) -> Reply:
        """Make an attempt whose wait is shown; that of a background call is not."""
        if self._notices is None or work.priority is Priority.BACKGROUND:
            return await self._send(work)
        wait = _Wait(self._notices, work)
        try:
            return await self._send(work)
        finally:
            wait.end()

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were repeated, and how many ended in a 429."""
        return {"retries": self._retries, "rate_limited": self._rate_limited}

    def _wait_before_next(self, work: Work, error: CallError, failures: _Failures) -> float | None:
        """Reserve another attempt and return the wait before it; None when none is due."""
        if work.was_given_out:
            error.add_note("not tried again: part of the answer was given out")
            self._judge(work, error)
            return None
        is_loading = isinstance(error, ModelLoading)
        goes_elsewhere = self._router.has_another(work, error)
        wait_seconds = 0.0 if goes_elsewhere else self._wait_here(work, error, failures)
        if wait_seconds is None or goes_elsewhere:
            self._judge(work, error, went_elsewhere=goes_elsewhere)
        if wait_seconds is None:
            return None
        left_seconds = work.seconds_left()
        if left_seconds is not None and wait_seconds >= left_seconds:
            error.add_note(f"not tried again: {left_seconds:g} seconds left")
            work.is_cut_by_payer = True
            return None
        if isinstance(error, EmptyAnswer) and error.is_cut:
            work.ask_for_more(MAX_GROWTH)
        refusal = work.reserve()
        if refusal is not None:
            error.add_note(f"not tried again: {refusal}")
            work.is_cut_by_payer = True
            return None
        failures.elsewhere += goes_elsewhere
        if is_loading and not goes_elsewhere:
            failures.polled_seconds += wait_seconds
            policy = work.endpoint.retry or self._policy
            self._breakers.loading(work.endpoint, max_seconds=policy.model_loading_seconds)
        elif not goes_elsewhere and not isinstance(error, ParameterRefused | BatchFailed):
            self._show(work, error, failures, wait_seconds)
        return wait_seconds

    def _show(self, work: Work, error: CallError, failures: _Failures, wait_seconds: float) -> None:
        """Show a failed attempt and the wait before the next."""
        if self._notices is not None:
            most = (work.endpoint.retry or self._policy).max_attempts(error)
            attempt = f"{self._attempt(work, failures)} of {most}"
            self._notices.failed(work, error, attempt=attempt, wait_seconds=wait_seconds)

    @staticmethod
    def _attempt(work: Work, failures: _Failures) -> int:
        """Return the number of the last attempt, without those that are counted apart."""
        apart = failures.learned + failures.polled + failures.elsewhere
        return work.usage.attempts - apart

    def _wait_here(self, work: Work, error: CallError, failures: _Failures) -> float | None:
        """Return the wait that the policy has before an attempt at an endpoint tried before."""
        is_loading = isinstance(error, ModelLoading)
        failures.learned += isinstance(error, ParameterRefused | BatchFailed)
        failures.polled += is_loading
        attempt = self._attempt(work, failures)
        if not self._router.ends_outage(work):
            if error.is_retryable:
                error.add_note("not tried again: the endpoint has failed too often")
            return None
        policy = work.endpoint.retry or self._policy
        return policy.wait_seconds(
            error,
            attempt=attempt,
            draw=Random(f"{self._seed}:{work.key}:{attempt}"),
            alike=failures.polled if is_loading else failures.learned,
            waited_seconds=failures.polled_seconds,
            spent_seconds=work.usage.path_seconds,
        )

    def _judge(self, work: Work, error: CallError, *, went_elsewhere: bool = False) -> None:
        """Note what the end of the last attempt means for its endpoint."""
        if shows_nothing(error):
            return
        if not is_outage(error):
            self._breakers.call_answered(work.endpoint)
        elif not work.is_cut_by_deadline:
            policy = work.endpoint.retry or self._policy
            self._breakers.call_failed(
                work.endpoint,
                error,
                down_seconds=policy.down_seconds,
                went_elsewhere=went_elsewhere,
            )
