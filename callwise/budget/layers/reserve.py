"""Layer `reserve`: pays for one attempt.

Each attempt reserves one request, and its tokens and USD where those are limited, before it is
sent (`Work.reserve`, which `share` and `retry` call before they wait for anything), and settles
here as soon as it ends, however it ends; see `budget.usage`. An attempt that never left the
machine is no request, and is given back whole.
"""

from collections.abc import Awaitable, Callable, Mapping

from callwise.budget.clock import Clock
from callwise.budget.work import Work
from callwise.calls.errors import CallError, CallTimeout, EmptyAnswer, EndpointDown, RunStopped
from callwise.calls.reply import Reply

__all__ = ["ReserveLayer"]


class ReserveLayer:
    """Counts an attempt, and settles its reservation on every path."""

    def __init__(self, clock: Clock, *, next: Callable[[Work], Awaitable[Reply]]) -> None:  # noqa: A002
        self._clock = clock
        self._next = next
        self._attempts = 0

    async def __call__(self, carried: Work) -> Reply:
        """Return a reply that is not empty.

        Raises:
            CallError: how the attempt ended.
        """
        clock = self._clock
        self._attempts += 1
        carried.begin_attempt()
        started = clock.now()
        result: Reply | CallError
        try:
            result = await self._next(carried)
        except CallError as error:
            result = error
        except BaseException:
            carried.settle(None, clock.now() - started)
            raise
        latency_seconds = clock.now() - started
        if clock.is_virtual:
            latency_seconds = getattr(result, "latency_seconds", 0.0)
            left_seconds = carried.left_seconds
            if left_seconds is not None and latency_seconds > left_seconds:
                latency_seconds = left_seconds
                result = CallTimeout("no answer before the deadline", latency_seconds=left_seconds)
        carried.settle(result, latency_seconds)
        if isinstance(result, CallError):
            self._attempts -= isinstance(result, EndpointDown | RunStopped)
            raise result
        if result.is_empty:
            raise EmptyAnswer(
                f"an empty answer (finish reason {result.finish_reason})",
                is_cut=result.finish_reason == "length",
            )
        return result

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were paid for."""
        return {"attempts": self._attempts}
