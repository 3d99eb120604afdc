"""Layer `replay`: answers calls from a recording, and records those that were not in it.

A replay has to refuse the calls that the recorded run refused, though in it no call is
ever under way: answers come immediately, so that reservations never add up as they did.
Two rules make it so. A recorded refusal is repeated where the limit that it names still
applies. And a recorded answer is charged what it was charged in the end, not what was
reserved for it: the sum of those, without what passed their reservations, fitted the
limits then, so it fits in any order now (see `Quota.refusal`).

A call that was cancelled has no answer to replay. A caller that asks it again is given time to
cancel it again: turns of its event loop, and in a program that is not ours, whose timeouts
know no virtual clock, the time that the call took. If that does not come, the next exchange of
its key is played; without one the call is sent, or in a strict replay missed.

A program that is not ours may go on with whichever answer comes first (`as_completed`, races,
workers at one queue). So the calls of its turn end in the order in which they ended. A call
waits for those that ended before it, also for those that are not asked yet: they were asked
before it ended. Where one of them does not come, the program has changed, and the waiting
ends after `MAX_ORDER_TURNS`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from callwise.budget.clock import Clock
from callwise.budget.fleet.shared_limits import FLEET_PREFIX
from callwise.budget.in_flight import InFlightCall, ReadReply, read_reply
from callwise.budget.limits import Amounts
from callwise.budget.recorder import RecordedExchange, Recorder, error_of_record, record_of_error
from callwise.budget.token_estimate import Estimator
from callwise.budget.usage import to_microseconds
from callwise.calls.answer_reader import is_in_use
from callwise.calls.call import Outcome
from callwise.calls.errors import (
    BudgetStoreLost,
    CallError,
    CallRefused,
    CassetteMiss,
    RunStopped,
)
from callwise.calls.loop_thread import let_react, pass_turn, pass_turns
from callwise.calls.pieces import pieces_of
from callwise.calls.reply import Reply

__all__ = ["ReplayLayer"]

MAX_CANCEL_TURNS = 1000
"""Turns of the caller's event loop in which a call that was cancelled may be cancelled again."""

PIECE_PAUSE_SECONDS = 0.001
"""Length of each of these turns where pieces of the answer were given out before."""

MAX_ORDER_TURNS = 250
"""Turns with a pause that a call waits for one that ended before it and is not asked this time.
Turns and no time, so that a machine that is busy for a moment changes no order."""

QUICK_TURNS = 100
"""Turns of the caller's event loop that are awaited without a pause."""

REFUSAL_SECONDS = 0.05
"""Time for a program to end by a refusal, before the answers that came after it."""

CANCEL_MARGIN_SECONDS = 1.0
"""Time beyond the recorded that a call of a foreign program waits to be cancelled."""


class _EndOrder:
    """The replayed calls of one turn, which end in the order of their numbers.

    Attributes:
        due: the number that ends next.
        was_refused: whether a call was refused since another one ended.
    """

    def __init__(self) -> None:
        self.due = 1
        self.was_refused = False
        self._ended: set[int] = set()
        self._waiting: set[int] = set()

    def end(self, number: int) -> None:
        """Note that a call has ended, or ends whenever it is cancelled."""
        self._ended.add(number)
        while self.due in self._ended:
            self._ended.discard(self.due)
            self.due += 1

    async def wait_for(self, number: int) -> None:
        """Wait until all calls before a number have ended, or do not come."""
        self._waiting.add(number)
        try:
            due_before = self.due
            await pass_turn()
            if number <= self.due == due_before and not self.was_refused:
                return
            awaited, turns, give_up_at = 0, 0, 0
            while number > self.due:
                turns += 1
                if awaited != self.due:
                    awaited, give_up_at = self.due, max(turns, QUICK_TURNS) + MAX_ORDER_TURNS
                elif turns > give_up_at:
                    self.due = min(self._waiting)
                    continue
                await (pass_turn() if turns <= QUICK_TURNS else asyncio.sleep(PIECE_PAUSE_SECONDS))
            await let_react()
            if self.was_refused:
                await asyncio.sleep(REFUSAL_SECONDS)
                self.was_refused = False
        finally:
            self._waiting.discard(number)


class ReplayLayer:
    """Uses a recorder.

    The estimator learns from what replayed calls are recorded to have used, so that a run that
    goes on live reserves as if it had never stopped.
    """

    def __init__(
        self,
        recorder: Recorder,
        estimator: Estimator,
        clock: Clock,
        *,
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._recorder = recorder
        self._estimator = estimator
        self._clock = clock
        self._next = next
        self._replayed = 0
        self._recorded = 0
        self._orders: defaultdict[tuple[str | None, str | None], _EndOrder]
        self._orders = defaultdict(_EndOrder)

    async def __call__(self, carried: InFlightCall) -> ReadReply:
        """Return the recorded answer, or that of the layer below, which is recorded.

        Raises:
            CallError: what ended it when it was recorded, or ends it now.
            CassetteMiss: when it is not recorded and may not be sent.
        """
        answer: ReadReply | None = None
        error: BaseException | None = None
        try:
            answer = await self._answer(carried)
            if answer is None:
                answer = await self._next(carried)
            else:
                self._replayed += 1
        except BaseException as problem:
            error = problem
            raise
        finally:
            carried.close(self._clock, error)
            self._record(carried, answer, error)
        return answer

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls were answered from the recording, and how many recorded."""
        return {"replayed": self._replayed, "recorded": self._recorded}

    async def _answer(self, call: InFlightCall) -> ReadReply | None:
        """Admit a call and answer it from the recording; None when it may be sent.

        Raises:
            CallRefused: when it was refused under a limit that still applies, or has no quota now.
            CassetteMiss: when it is not recorded and may not be sent.
            CallError: the error that it ended in when it was recorded.
        """
        exchange, miss = await self._find(call)
        while exchange is not None and exchange.outcome is Outcome.CANCELLED:
            call.was_found = True
            if not call.is_admitted:
                call.admit(by_path=True)
            await self._await_cancellation(call, exchange)
            exchange, miss = await self._find(call)
        call.was_found = exchange is not None
        if exchange is None:
            if miss is None:
                return None  # admitted below, where it is not yet
            if not call.is_admitted:
                call.admit()
            raise miss
        if call.is_admitted:
            _charge(call, exchange)
        else:
            call.admit(_charged(exchange), over=_over(exchange), by_path=True)
        endpoint, reply = call.endpoint, exchange.reply
        if (
            reply is not None
            and call.reservation.limits_spending
            and not endpoint.client.is_simulated
        ):
            estimate = self._estimator.estimate(call.call, endpoint)
            self._estimator.observe(call.call, estimate, endpoint, reply.usage)
        return await self._replay(call, exchange)

    def _record(
        self, call: InFlightCall, answer: ReadReply | None, error: BaseException | None
    ) -> None:
        """Record how a call ended that was not replayed, unless a bug or the run's end ended it."""
        if call.was_found or isinstance(error, CassetteMiss | RunStopped):
            return
        if answer is not None:
            reply: Reply | None = replace(answer.reply, parsed=None)
        elif isinstance(error, CallError) or call.outcome is Outcome.CANCELLED:
            reply = None if call.work is None else call.work.given_out()
        else:
            return
        self._recorded += 1
        exchange = RecordedExchange(
            outcome=call.outcome or Outcome.FAILED,
            reply=reply,
            error=record_of_error(error, str(error)) if isinstance(error, CallError) else None,
            usage=call.usage,
            latency_seconds=call.path_seconds,
            usage_note=call.usage_note,
            delivery=call.delivery,
            choice=call.call.choice,
            sequence=call.sequence,
        )
        self._recorder.record(call.key, call.call, call.where, exchange)

    async def _find(
        self, call: InFlightCall
    ) -> tuple[RecordedExchange | None, CassetteMiss | None]:
        """Return the next exchange that can be used here, and why nothing may be sent.

        Raises:
            CallRefused: when that is a refusal under a limit that still applies.
        """
        while True:
            try:
                found = self._recorder.lookup(call.key, call.call, call.where)
                exchange = await found if isinstance(found, Awaitable) else found
            except CassetteMiss as miss:
                return None, miss
            if exchange is None:
                return None, None
            if exchange.outcome is Outcome.CANCELLED:
                self._end(call, exchange)
                return exchange, None
            if exchange.outcome is not Outcome.REFUSED:
                return exchange, None
            refusal = _applicable_refusal(call, exchange)
            if refusal is not None and exchange.end_number:
                # Calls that run at the same time had asked before the program went on with this.
                await pass_turns()
                self._order(call).was_refused = True
            self._end(call, exchange)
            if refusal is not None:
                call.was_found = True
                call.refuse(refusal)

    def _end(self, call: InFlightCall, exchange: RecordedExchange) -> None:
        if exchange.end_number:
            self._order(call).end(exchange.end_number)

    def _order(self, call: InFlightCall) -> _EndOrder:
        return self._orders[call.where.conversation, call.where.turn]

    async def _replay(self, call: InFlightCall, exchange: RecordedExchange) -> ReadReply:
        _set_usage(call, exchange)
        call.finish(Outcome.REPLAYED)
        # As if it had been sent: calls that run at the same time are asked before it ends.
        try:
            if exchange.end_number:
                await self._order(call).wait_for(exchange.end_number)
            else:
                await pass_turn()
        finally:
            self._end(call, exchange)
        if exchange.error is not None:
            _give_out(call, exchange)
            raise error_of_record(exchange.error)
        if exchange.reply is None:
            raise CassetteMiss(f"the recorded exchange of {call.key} has no answer and no error")
        return read_reply(call.call, exchange.reply)

    async def _await_cancellation(self, call: InFlightCall, exchange: RecordedExchange) -> None:
        # A stream is left over one of its pieces, maybe from another thread.
        pause_seconds = PIECE_PAUSE_SECONDS if _give_out(call, exchange) else 0
        try:
            for _ in range(MAX_CANCEL_TURNS):
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)
                else:
                    await pass_turn()
            if call.call.origin is not None:
                await asyncio.sleep(2 * exchange.latency_seconds + CANCEL_MARGIN_SECONDS)
        except BaseException:
            _charge(call, exchange)
            _set_usage(call, exchange)
            raise


def _charge(call: InFlightCall, exchange: RecordedExchange) -> None:
    """Charge a call that is admitted what it is recorded to have spent."""
    call.reservation.charge(_charged(exchange)._replace(calls=0))
    call.reservation.pass_reservation(_over(exchange))


def _give_out(call: InFlightCall, exchange: RecordedExchange) -> bool:
    """Send out the pieces of an answer that broke off; return whether there are any."""
    listener = call.call.listener
    if listener is None or not call.call.stream or exchange.reply is None:
        return False
    if call.call.response_model is not None:
        return is_in_use(listener, exchange.reply.text)
    for piece in pieces_of(exchange.reply):
        listener.on_piece(piece)
    return True


def _charged(exchange: RecordedExchange) -> Amounts:
    usage, delivery = exchange.usage, exchange.delivery
    requests = usage.requests
    if delivery.batch and not delivery.is_apportioned:
        requests = min(requests, usage.attempts)  # the others were about its batch, and free
    return Amounts(1, requests, usage.charged_tokens, usage.charged_picodollars)


def _over(exchange: RecordedExchange) -> Amounts:
    return Amounts(0, 0, exchange.usage.over_tokens, exchange.usage.over_picodollars)


def _set_usage(call: InFlightCall, exchange: RecordedExchange) -> None:
    usage = exchange.usage
    if usage.attempts:
        work_microseconds = to_microseconds(exchange.latency_seconds) - usage.wait_microseconds
        usage = usage._replace(sent=0, work_microseconds=work_microseconds)
    call.usage = usage
    call.usage_note = exchange.usage_note
    call.delivery = exchange.delivery
    call.path_seconds = exchange.latency_seconds


def _applicable_refusal(
    call: InFlightCall, exchange: RecordedExchange
) -> CallRefused | BudgetStoreLost | None:
    """Return a recorded refusal when the limit that it names binds this call too.

    What the limits of several processes left is no matter of this recording: it is repeated.
    """
    if exchange.error is None:
        return None
    error = error_of_record(exchange.error)
    if isinstance(error, BudgetStoreLost):
        return error
    if not isinstance(error, CallRefused):
        return None
    if error.scope.startswith(FLEET_PREFIX):
        return error
    limit_value = call.scope.scope_limits.limit_value(error.scope, error.limit)
    if error.limit == "deadline_seconds":
        limit_value = call.call.deadline_seconds
    return error if limit_value == error.limit_value else None
