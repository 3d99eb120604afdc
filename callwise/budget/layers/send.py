"""Layer `send`: one request to an endpoint's client, within the time left.

The timeout of a call is cut to the time left, and a client that ignores its timeout is
cancelled. On a virtual clock nothing waits, and the latency of the reply decides in `reserve`.
Secrets are removed from every error here, before any layer records it.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from callwise.budget.clock import Clock
from callwise.budget.redactor import Redactor
from callwise.budget.work import Work
from callwise.budget.work_batch import WorkBatch
from callwise.calls.call import Call
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallError, CallTimeout
from callwise.calls.reply import Reply
from callwise.calls.reported_usage import checked_usage
from callwise.calls.time_limit import time_limit

__all__ = ["SendLayer"]

ResultT = TypeVar("ResultT")

_Results = Sequence[Reply | CallError]


class SendLayer:
    """Asks the client of an endpoint."""

    def __init__(self, clock: Clock, redactor: Redactor) -> None:
        self._clock = clock
        self._redactor = redactor
        self._attempts = 0
        self._deadlines = 0

    def __call__(self, carried: Work | WorkBatch) -> Awaitable[Any]:
        """Return the reply of the client, its usage checked; of a batch, each one's end.

        Raises:
            CallRefused: when there is no quota for a request that was to travel with others.
            CallError: the client's, or `CallTimeout` when the time left is over.
            TypeError: when the client answers anything else than one reply or error for a call.
            CancelledError: also when the client has swallowed the cancellation of its caller.
        """
        if isinstance(carried, WorkBatch):
            self._attempts += len(carried.works)
            return self._watched(self._ends(carried))
        self._attempts += 1
        return self._watched(self._reply(carried))

    async def _watched(self, answering: Awaitable[ResultT]) -> ResultT:
        """Return the result, with no secret in an error and no cancellation lost."""
        task = asyncio.current_task()
        cancellations = 0 if task is None else task.cancelling()
        try:
            result = await answering
        except BaseException as error:
            self._redactor.clean_error(error)
            if task is not None and task.cancelling() > cancellations:
                raise asyncio.CancelledError from error
            raise
        if task is not None and task.cancelling() > cancellations:
            raise asyncio.CancelledError
        return result

    async def _reply(self, work: Work) -> Reply:
        endpoint = work.endpoint
        if work.defers_request and (refusal := work.reserve_next_request()) is not None:
            raise refusal
        call, left_seconds = self._call_to_send(work)
        answering = endpoint.client.answer((call,), model=endpoint.model, on_sent=work.count_sent)
        if left_seconds is None:
            results = await answering
        else:
            results = await self._in_time(answering, left_seconds, work)
        return _reply_of(results, endpoint)

    async def _ends(self, batch: WorkBatch) -> _Results:
        """Return the end of each call of a batch; each of them leaves it at its deadline."""
        results = batch.read(await batch.ask())
        for result in results:
            if isinstance(result, CallError):
                self._redactor.clean_error(result)
        return results

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were given to clients, and how many a deadline ended."""
        return {"attempts": self._attempts, "deadlines": self._deadlines}

    def _call_to_send(self, work: Work) -> tuple[Call, float | None]:
        """Return the call with its timeout cut to the time left, and how long to wait for it."""
        if work.queue_seconds:
            work.left_seconds = work.seconds_left()
        call, left_seconds = work.outgoing_call, work.left_seconds
        if call.stream:
            # Of several choices the first is not always the answer.
            call = replace(call, listener=work if call.sampling.n == 1 else None)
        work.is_cut_by_deadline = left_seconds is not None and (
            call.timeout_seconds is None or call.timeout_seconds > left_seconds
        )
        if work.is_cut_by_deadline:
            call = replace(call, timeout_seconds=left_seconds)
        return call, None if self._clock.is_virtual else left_seconds

    async def _in_time(
        self, answering: Awaitable[_Results], left_seconds: float, work: Work
    ) -> _Results:
        # Not every client keeps to a timeout, and a deadline is a deadline.
        timer: asyncio.Timeout | None = None
        try:
            async with time_limit(left_seconds) as timer:
                return await answering
        except TimeoutError:
            if timer is None or not timer.expired():
                raise
            self._deadlines += 1
            raise CallTimeout(
                "no answer before the deadline",
                was_sent=work.sent_count > 0,
                latency_seconds=left_seconds,
            ) from None


def _reply_of(results: _Results, endpoint: Endpoint) -> Reply:
    """Return the one reply of a client, or raise the one error."""
    result = results[0] if len(results) == 1 else None
    if isinstance(result, CallError):
        raise result
    if not isinstance(result, Reply):
        raise TypeError(
            f"the client of endpoint {endpoint.name!r} must answer one call with one "
            f"Reply or CallError, got {len(results)}: {[type(r).__name__ for r in results]}"
        )
    usage = checked_usage(result.usage)
    return result if usage is result.usage else replace(result, usage=usage)
