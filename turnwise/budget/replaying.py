"""Answering calls from a recording, and recording those that were not.

A replay has to refuse the calls that the recorded run refused, though in it nothing is
ever in flight: answers come at once, so that reservations never add up as they did.
Two rules make it so. A recorded refusal is repeated where the limit that it names still
stands. And a recorded answer is charged what it was charged in the end, not what was
reserved for it: the sum of those, without what passed their reservations, fitted the
limits then, so it fits in any order now (see `Room.refusal`).

A call that was cancelled has no answer to replay. Whoever asks it again is given time to
cancel it again; if that does not come, the call is sent, or in a strict replay missed.
"""

import asyncio

from turnwise.budget.answer import Answer, read_reply
from turnwise.budget.estimate import Estimator
from turnwise.budget.open_call import OpenCall
from turnwise.budget.recorded_error import error_of_record, record_of_error
from turnwise.budget.recorder import RecordedExchange, Recorder
from turnwise.budget.room import PICODOLLARS, Amounts, to_picodollars
from turnwise.budget.spent import Spent
from turnwise.calls.errors import CallError, CallRefused, CassetteMiss
from turnwise.calls.listener import pieces_of
from turnwise.calls.loop_thread import pass_turn
from turnwise.calls.reply import Reply
from turnwise.calls.vocabulary import Outcome

__all__ = ["Replayer"]

MAX_CANCEL_TURNS = 1000
"""Turns of the asker's event loop in which a call that was cancelled may be cancelled again."""

PIECE_PAUSE_SECONDS = 0.001
"""How long each of these turns is where pieces of the answer were given out before."""


class Replayer:
    """A recorder, as the budgeter uses it.

    Args:
        recorder: the recording.
        estimator: learns from what replayed calls are recorded to have used, so that a run
            that goes on live reserves as if it had never stopped.
    """

    def __init__(self, recorder: Recorder, estimator: Estimator) -> None:
        self._recorder = recorder
        self._estimator = estimator

    async def answer(self, call: OpenCall) -> Answer | None:
        """Admit a call and answer it from the recording; None when it may be sent.

        Raises:
            CallRefused: when it was refused under a limit that stands, or has no room now.
            CassetteMiss: when it is not recorded and may not be sent.
            CallError: the error that it ended in when it was recorded.
        """
        exchange, miss = self._find(call)
        if exchange is None:
            call.admit()
            if miss is not None:
                raise miss
            return None
        call.was_found = True
        if exchange.outcome is Outcome.CANCELLED:
            await self._await_cancellation(call, exchange, miss)
            return None
        call.admit(_charged(exchange), over=_over(exchange), by_path=True)
        if exchange.reply is not None and call.account.limits_spending:
            estimate = self._estimator.estimate(call.call, call.endpoint)
            self._estimator.observe(estimate, call.endpoint, exchange.reply.usage)
        return await self._replay(call, exchange)

    def record(self, call: OpenCall, reply: Reply | None, error: CallError | None) -> None:
        """Record how a call ended that was not replayed.

        Args:
            call: the call, ended.
            reply: its answer, where it had one; of one that ended otherwise, the pieces
                that were given out.
            error: what ended it instead, with secrets taken out.
        """
        spent = call.spent
        is_cost_known = spent.requests > spent.unknown_usd
        exchange = RecordedExchange(
            outcome=call.outcome or Outcome.FAILED,
            reply=reply,
            error=None if error is None else record_of_error(error, str(error)),
            attempts=spent.attempts,
            requests=spent.requests,
            latency_seconds=call.path_seconds,
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            cached_tokens=spent.cached_tokens,
            usd=spent.picodollars / PICODOLLARS if is_cost_known else None,
            unknown_usage=spent.unknown_usage,
            charged_tokens=spent.charged_tokens,
            charged_usd=spent.charged_picodollars / PICODOLLARS,
            over_tokens=spent.over_tokens,
            over_usd=spent.over_picodollars / PICODOLLARS,
            usage_note=spent.usage_note,
            unknown_usd=spent.unknown_usd,
            retry_seconds=spent.retry_seconds,
            sequence=call.sequence,
        )
        self._recorder.record(call.key, call.call, call.where, exchange)

    def _find(self, call: OpenCall) -> tuple[RecordedExchange | None, CassetteMiss | None]:
        """Return the first exchange that can be used here, and why nothing may be sent.

        Raises:
            CallRefused: when that is a refusal under a limit that still stands.
        """
        cancelled: RecordedExchange | None = None
        while True:
            try:
                exchange = self._recorder.lookup(call.key, call.call, call.where)
            except CassetteMiss as miss:
                return cancelled, miss
            if exchange is None:
                return cancelled, None
            if exchange.outcome is Outcome.CANCELLED:
                cancelled = exchange
            elif exchange.outcome is Outcome.REFUSED:
                refusal = _standing_refusal(call, exchange)
                if refusal is not None:
                    call.was_found = True
                    call.refuse(refusal)
            else:
                return exchange, None

    async def _replay(self, call: OpenCall, exchange: RecordedExchange) -> Answer:
        call.spent = _spent(exchange)
        call.path_seconds = exchange.latency_seconds
        call.finish(Outcome.REPLAYED)
        # As if it had been sent: whoever runs beside it comes to ask before it ends.
        await pass_turn()
        if exchange.error is not None:
            _give_out(call, exchange)
            raise error_of_record(exchange.error)
        if exchange.reply is None:
            raise CassetteMiss(f"the recorded exchange of {call.key} has no answer and no error")
        return read_reply(call.call, exchange.reply)

    async def _await_cancellation(
        self, call: OpenCall, exchange: RecordedExchange, miss: CassetteMiss | None
    ) -> None:
        call.admit(by_path=True)
        # A stream is left over one of its pieces, maybe from another thread.
        pause_seconds = PIECE_PAUSE_SECONDS if _give_out(call, exchange) else 0
        try:
            for _ in range(MAX_CANCEL_TURNS):
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)
                else:
                    await pass_turn()
        except BaseException:
            call.account.charge(_charged(exchange)._replace(calls=0))
            call.account.pass_reservation(_over(exchange))
            call.spent = _spent(exchange)
            call.path_seconds = exchange.latency_seconds
            raise
        call.was_found = False
        if miss is not None:
            raise miss


def _give_out(call: OpenCall, exchange: RecordedExchange) -> bool:
    """Give out the pieces of an answer that broke off; return whether there are any."""
    listener = call.call.listener
    if listener is None or not call.call.stream or exchange.reply is None:
        return False
    for piece in pieces_of(exchange.reply):
        listener.on_piece(piece)
    return True


def _charged(exchange: RecordedExchange) -> Amounts:
    return Amounts(
        calls=1,
        requests=exchange.requests,
        tokens=exchange.charged_tokens,
        picodollars=to_picodollars(exchange.charged_usd),
    )


def _over(exchange: RecordedExchange) -> Amounts:
    return Amounts(tokens=exchange.over_tokens, picodollars=to_picodollars(exchange.over_usd))


def _spent(exchange: RecordedExchange) -> Spent:
    paid = exchange.attempts > 0
    return Spent(
        attempts=exchange.attempts,
        requests=exchange.requests,
        input_tokens=exchange.input_tokens,
        output_tokens=exchange.output_tokens,
        cached_tokens=exchange.cached_tokens,
        picodollars=to_picodollars(exchange.usd or 0.0),
        unknown_usage=exchange.unknown_usage,
        unknown_usd=exchange.unknown_usd,
        charged_tokens=exchange.charged_tokens,
        charged_picodollars=to_picodollars(exchange.charged_usd),
        over_tokens=exchange.over_tokens,
        over_picodollars=to_picodollars(exchange.over_usd),
        usage_note=exchange.usage_note,
        work_seconds=exchange.latency_seconds - exchange.retry_seconds if paid else 0.0,
        retry_seconds=exchange.retry_seconds,
    )


def _standing_refusal(call: OpenCall, exchange: RecordedExchange) -> CallRefused | None:
    """Return a recorded refusal when the limit that it names binds this call too."""
    if exchange.error is None:
        return None
    error = error_of_record(exchange.error)
    if not isinstance(error, CallRefused):
        return None
    limit_value = call.scope.bounds.limit_value(error.scope, error.limit)
    return error if limit_value == error.limit_value else None
