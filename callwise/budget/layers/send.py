"""Layer `send`: one request to an endpoint's client, within the time left.

The timeout of a call is cut to the time left, and a client that ignores its timeout is
cancelled. On a virtual clock nothing waits, and the latency of the reply decides in `reserve`.
Secrets are removed from every error here, before any layer records it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from callwise.budget.clock import Clock
from callwise.budget.redactor import Redactor
from callwise.budget.work import Work
from callwise.calls.call import Call
from callwise.calls.errors import CallError, CallTimeout
from callwise.calls.reply import Reply
from callwise.calls.reported_usage import checked_usage

__all__ = ["SendLayer"]


class SendLayer:
    """Asks the client of an endpoint.

    Args:
        clock: time.
        redactor: removes secrets from errors.
    """

    def __init__(self, clock: Clock, redactor: Redactor) -> None:
        self._clock = clock
        self._redactor = redactor
        self._attempts = 0
        self._deadlines = 0

    async def __call__(self, carried: Work) -> Reply:
        """Return the reply of the client, its usage checked.

        Raises:
            CallError: the client's, or `CallTimeout` when the time left is over.
            TypeError: when the client answers anything else than one reply or error.
            CancelledError: also when the client has swallowed the cancellation of its caller.
        """
        self._attempts += 1
        task = asyncio.current_task()
        cancellations = 0 if task is None else task.cancelling()
        try:
            reply = await self._in_time(carried)
        except BaseException as error:
            self._redactor.clean_error(error)
            if task is not None and task.cancelling() > cancellations:
                raise asyncio.CancelledError from error
            raise
        if task is not None and task.cancelling() > cancellations:
            raise asyncio.CancelledError
        return reply

    def statistics(self) -> Mapping[str, int]:
        """Return how many attempts were given to clients, and how many a deadline ended."""
        return {"attempts": self._attempts, "deadlines": self._deadlines}

    async def _in_time(self, work: Work) -> Reply:
        call, left_seconds = work.sent_call, work.left_seconds
        work.is_cut_by_deadline = False
        if left_seconds is None:
            return await self._answer(work, call)
        if call.timeout_seconds is None or call.timeout_seconds > left_seconds:
            work.is_cut_by_deadline = True
            call = replace(call, timeout_seconds=left_seconds)
        if self._clock.is_virtual:
            return await self._answer(work, call)
        # Not every client keeps to a timeout, and a deadline is a deadline.
        timer = asyncio.timeout(left_seconds)
        try:
            async with timer:
                return await self._answer(work, call)
        except TimeoutError:
            if not timer.expired():
                raise
            self._deadlines += 1
            raise CallTimeout(
                "no answer before the deadline",
                was_sent=work.sent_count > 0,
                latency_seconds=left_seconds,
            ) from None

    async def _answer(self, work: Work, call: Call) -> Reply:
        if call.stream:
            # Of several choices the first is not always the answer.
            call = replace(call, listener=work if call.sampling.n == 1 else None)
        endpoint = work.endpoint
        results = await endpoint.client.answer(
            (call,), model=endpoint.model, on_sent=work.count_sent
        )
        if len(results) != 1 or not isinstance(results[0], Reply | CallError):
            raise TypeError(
                f"the client of endpoint {endpoint.name!r} must answer one call with one "
                f"Reply or CallError, got {len(results)}: {[type(r).__name__ for r in results]}"
            )
        result = results[0]
        if isinstance(result, CallError):
            raise result
        usage = checked_usage(result.usage)
        return result if usage is result.usage else replace(result, usage=usage)
