"""Sending one call: attempt, settle, wait, attempt again.

Each attempt reserves one request, and its tokens and USD where those are limited,
before it is sent, and settles as soon as it ends, however it ends: see `usage`. One
that never left the machine is an attempt and no request, and is given back whole.

An answer that its token limit ended before it began, because the model thought first,
is asked for again with twice the tokens, four times at most.

A streamed answer is given out piece by piece to the call's listener; a call with a response
model is not, since its answer is only then one when it fits. Once a piece was given out
the call is not tried again: the caller has seen half of another answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random

from turnwise.budget.account import Account
from turnwise.budget.answer import Answer, read_reply
from turnwise.budget.bounds import Bounds
from turnwise.budget.clock import Clock
from turnwise.budget.estimate import Estimate, Estimator
from turnwise.budget.health import EndpointHealth, Probe, is_outage
from turnwise.budget.path import Position
from turnwise.budget.room import NOTHING, Amounts
from turnwise.budget.usage import NO_USAGE, Usage, attempt_usage, to_microseconds
from turnwise.calls.call import Call
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import (
    CallError,
    CallRefused,
    CallTimeout,
    EmptyAnswer,
    ModelLoading,
    ParameterRefused,
)
from turnwise.calls.key import CallKey
from turnwise.calls.listener import CallEnd, Piece, reply_of_pieces
from turnwise.calls.reply import Reply
from turnwise.calls.reply import Usage as ReportedUsage
from turnwise.calls.retry import RetryPolicy
from turnwise.calls.usage import checked_usage, usage_note

__all__ = ["Sending", "SendingRules"]

_ONE_REQUEST = Amounts(requests=1)
_ONE_ATTEMPT = Usage(attempts=1)

MAX_GROWTH = 4
"""Most that `max_tokens` is multiplied by for an answer that was cut before it began."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """What is the same for every call of one budgeter.

    Args:
        clock: time and waiting.
        estimator: what to reserve.
        retry: when to try again, where the endpoint has no policy of its own.
        seed: of the jitter.
        health: which endpoints have just failed.
        store: keeps a usable reply of a shared call for later equal ones; None keeps nothing.
    """

    clock: Clock
    estimator: Estimator
    retry: RetryPolicy
    seed: int
    health: EndpointHealth
    store: Callable[[CallKey, Reply], Awaitable[None]] | None


class Sending:
    """The work of getting one call answered.

    Args:
        call: what was asked.
        endpoint: who is asked.
        key: the call's identity.
        rules: the budgeter's.
        bounds: what binds whoever pays.
        account: of whoever pays.
        position: where on the path whoever pays started.

    Attributes:
        usage: what it has spent so far.
        usage_note: what is odd about the usage that was reported.
    """

    __slots__ = (
        "_account",
        "_bounds",
        "_call",
        "_endpoint",
        "_estimated",
        "_given_count",
        "_is_attempting",
        "_is_cut_by_deadline",
        "_key",
        "_position",
        "_received",
        "_reserved",
        "_retry",
        "_rules",
        "_sent_call",
        "_sent_count",
        "usage",
        "usage_note",
    )

    def __init__(
        self,
        call: Call,
        endpoint: Endpoint,
        key: CallKey,
        *,
        rules: SendingRules,
        bounds: Bounds,
        account: Account,
        position: Position,
    ) -> None:
        self._call = call
        self._endpoint = endpoint
        self._key = key
        self._rules = rules
        self._retry = endpoint.retry or rules.retry
        self._sent_call = call
        self._is_cut_by_deadline = False
        self.usage = NO_USAGE
        self.usage_note = ""
        self._estimated: Estimate | None = None
        self._reserved: Amounts | None = None
        self._is_attempting = False
        self._sent_count = 0
        self._received: list[Piece] = []
        self._given_count = 0
        self.move_to(bounds, account, position)

    def move_to(self, bounds: Bounds, account: Account, position: Position) -> None:
        """Charge someone else from now on. What is taken so far has been moved already."""
        self._bounds = bounds
        self._account = account
        self._position = position

    def reserve(self) -> CallRefused | None:
        """Reserve one attempt, or return why there is no room or time for it."""
        refusal = None
        if self._bounds.is_timed:
            refusal = self._bounds.refusal_by_time(self._now(), by_path=False)
        if refusal is None:
            amounts = (
                self._estimate().reservation() if self._account.limits_spending else _ONE_REQUEST
            )
            refusal = self._account.take(amounts)
            if refusal is None:
                self._reserved = amounts
        return refusal

    def estimate_reservation(self) -> None:
        """Reserve tokens and USD for the attempt under way, where only a request is.

        For a payer whose limits need them, taking over from one whose did not.
        """
        if self._reserved is _ONE_REQUEST:
            estimated = self._estimate().reservation()
            self._account.settle(self._reserved, estimated)
            self._reserved = estimated

    async def run(self) -> Answer:
        """Return the answer to the call. `reserve` must have found room.

        Raises:
            CallError: how the last attempt ended.
        """
        answer = read_reply(self._call, await self._reply())
        store = self._rules.store if self._call.is_shared else None
        if store is not None and answer.invalid is None:
            await store(self._key, replace(answer.reply, parsed=None))
        return answer

    def on_piece(self, piece: Piece) -> None:
        """Give a piece of the answer to the call's listener, and keep it.

        A blank beginning is kept back: it may be all that comes, and be asked for again.
        """
        if not any(piece):
            return
        self._received.append(piece)
        listener = self._call.listener
        if listener is None or self._call.response_model is not None:
            return
        if self._given_count or not piece.is_blank:
            for kept in self._received[self._given_count :]:
                if kept.is_answer:
                    listener.on_piece(kept)
            self._given_count = len(self._received)

    def on_end(self, end: CallEnd) -> None:
        """Do nothing: the call has a row, its sending has none."""

    def given_out(self) -> Reply | None:
        """Return what the listener was given of the answer, or None for nothing."""
        if not self._given_count:
            return None
        return reply_of_pieces(self._received[: self._given_count])

    def close(self) -> None:
        """Settle what is still reserved. Does nothing after a whole run."""
        if self._reserved is not None:
            if self._is_attempting:
                self._settle(None, 0.0)
            else:
                self._account.settle(self._reserved, Amounts())
                self._reserved = None

    async def _reply(self) -> Reply:
        probe = self._rules.health.admit(self._endpoint)
        try:
            return await self._repeated(probe)
        finally:
            if probe is not None:
                self._rules.health.release(probe)

    async def _repeated(self, probe: Probe | None) -> Reply:
        """Attempt until there is a reply, or no further attempt is due.

        Raises:
            CallError: how the last attempt ended.
        """
        rules = self._rules
        learned = polled = 0
        polled_seconds = 0.0
        while True:
            result = await self._attempt()
            if isinstance(result, Reply):
                rules.health.answered(self._endpoint)
                return result
            if self._given_count:
                result.add_note("not tried again: part of the answer was given out")
                self._judge_health(result)
                raise result
            learned += isinstance(result, ParameterRefused)
            polled += isinstance(result, ModelLoading)
            attempt = self.usage.attempts - learned - polled
            wait_seconds = None
            if probe is None or not is_outage(result):
                wait_seconds = self._retry.wait_seconds(
                    result,
                    attempt=attempt,
                    draw=Random(f"{rules.seed}:{self._key}:{attempt}"),
                    alike=polled if isinstance(result, ModelLoading) else learned,
                    waited_seconds=polled_seconds,
                )
            if wait_seconds is None:
                self._judge_health(result)
                raise result
            left_seconds = self._bounds.seconds_left(self._now())
            if left_seconds is not None and wait_seconds >= left_seconds:
                result.add_note(f"not tried again: {left_seconds:g} seconds left")
                raise result
            if isinstance(result, EmptyAnswer) and result.is_cut:
                self._ask_for_more()
            refusal = self.reserve()
            if refusal is not None:
                result.add_note(f"not tried again: {refusal}")
                raise result
            if isinstance(result, ModelLoading):
                polled_seconds += wait_seconds
                max_seconds = self._retry.model_loading_seconds
                rules.health.loading(self._endpoint, max_seconds=max_seconds)
            self.usage += Usage(retry_microseconds=to_microseconds(wait_seconds))
            await rules.clock.sleep(wait_seconds)

    def _judge_health(self, error: CallError) -> None:
        """Say what the end of the last attempt means for the endpoint."""
        health = self._rules.health
        if not is_outage(error):
            health.answered(self._endpoint)
        elif not self._is_cut_by_deadline:
            health.failed(self._endpoint, error, down_seconds=self._retry.down_seconds)

    def _ask_for_more(self) -> None:
        """Double the tokens that the next attempt may answer with, up to a limit."""
        most = self._call.sampling.max_tokens
        sampling = self._sent_call.sampling
        if most is None or sampling.max_tokens is None:
            return
        more = min(sampling.max_tokens * 2, most * MAX_GROWTH)
        self._sent_call = replace(self._sent_call, sampling=replace(sampling, max_tokens=more))
        self._estimated = None

    async def _attempt(self) -> Reply | CallError:
        clock = self._rules.clock
        left_seconds = self._bounds.seconds_left(self._now()) if self._bounds.is_timed else None
        self.usage += _ONE_ATTEMPT
        self._sent_count = 0
        self._received.clear()
        self._is_attempting = True
        started = clock.now()
        try:
            result = await self._send(left_seconds)
        except BaseException:
            self._settle(None, clock.now() - started)
            raise
        latency = clock.now() - started
        if clock.is_virtual:
            latency = getattr(result, "latency_seconds", 0.0)
            if left_seconds is not None and latency > left_seconds:
                latency = left_seconds
                result = CallTimeout("no answer before the deadline", latency_seconds=latency)
        self._settle(result, latency)
        if isinstance(result, Reply) and result.is_empty:
            return EmptyAnswer(
                f"an empty answer (finish reason {result.finish_reason})",
                is_cut=result.finish_reason == "length",
            )
        return result

    # Places of what comes later, in this order: a queue by priority and deadline, a wait
    # for the rate, a batch with others of the same endpoint, a route to one of several.

    async def _send(self, left_seconds: float | None) -> Reply | CallError:
        call = self._sent_call
        self._is_cut_by_deadline = False
        if left_seconds is None:
            return await self._answer(call)
        if call.timeout_seconds is None or call.timeout_seconds > left_seconds:
            self._is_cut_by_deadline = True
            call = replace(call, timeout_seconds=left_seconds)
        if self._rules.clock.is_virtual:
            return await self._answer(call)
        # Not every client keeps to a timeout, and a deadline is a deadline.
        timer = asyncio.timeout(left_seconds)
        try:
            async with timer:
                return await self._answer(call)
        except TimeoutError:
            if not timer.expired():
                raise
            return CallTimeout(
                "no answer before the deadline",
                was_sent=self._sent_count > 0,
                latency_seconds=left_seconds,
            )

    async def _answer(self, call: Call) -> Reply | CallError:
        if call.stream:
            # Of several choices the first is not always the answer.
            call = replace(call, listener=self if call.sampling.n == 1 else None)
        try:
            results = await self._endpoint.client.answer(
                (call,), model=self._endpoint.model, on_sent=self._count_sent
            )
        except CallError as error:
            return error
        if len(results) != 1 or not isinstance(results[0], Reply | CallError):
            raise TypeError(
                f"the client of endpoint {self._endpoint.name!r} must answer one call with one "
                f"Reply or CallError, got {len(results)}: {[type(r).__name__ for r in results]}"
            )
        result = results[0]
        if isinstance(result, Reply):
            usage = checked_usage(result.usage)
            if usage is not result.usage:
                return replace(result, usage=usage)
        return result

    def _count_sent(self, index: int) -> None:
        del index
        self._sent_count += 1

    def _settle(self, result: Reply | CallError | None, latency_seconds: float) -> None:
        """Charge what the attempt really used. Does nothing when that was done."""
        reserved, self._reserved = self._reserved, None
        self._is_attempting = False
        if reserved is None:
            return
        requests = self._sent_count
        if requests == 0 and result is not None and getattr(result, "was_sent", True):
            requests = 1
        spent = NO_USAGE
        if requests:
            prices = self._endpoint.prices
            received = self._estimate_received if self._received else None
            spent = attempt_usage(
                result, requests, prices=prices, estimate=self._estimate, received=received
            )
        if isinstance(result, Reply):
            self.usage_note = usage_note(self._sent_call, result) or self.usage_note
            has_parts = any(message.parts for message in self._sent_call.messages)
            if self._estimated is not None and not has_parts:  # what images cost teaches nothing
                self._rules.estimator.observe(self._estimated, self._endpoint, result.usage)
        charged = Amounts(0, requests, spent.charged_tokens, spent.charged_picodollars)
        self._account.settle(reserved, charged)
        over = NOTHING
        if reserved is not _ONE_REQUEST:
            over = self._over(charged, reserved)
            if over != NOTHING:
                self._account.pass_reservation(over)
        self.usage += spent._replace(
            requests=requests,
            sent=requests,
            over_tokens=over.tokens,
            over_picodollars=over.picodollars,
            work_microseconds=to_microseconds(latency_seconds),
        )

    def _over(self, charged: Amounts, reserved: Amounts) -> Amounts:
        """Return what an attempt was charged beyond what was reserved."""
        picodollars = charged.picodollars - reserved.picodollars
        if self._endpoint.prices is None:
            picodollars = 0
        return Amounts(0, 0, max(charged.tokens - reserved.tokens, 0), max(picodollars, 0))

    def _estimate(self) -> Estimate:
        if self._estimated is None:
            self._estimated = self._rules.estimator.estimate(self._sent_call, self._endpoint)
        return self._estimated

    def _estimate_received(self) -> tuple[ReportedUsage, Estimate]:
        reply = reply_of_pieces(self._received)
        return self._rules.estimator.received(self._sent_call, self._endpoint, reply)

    def _now(self) -> Position:
        return Position(self._position.round, self._position.seconds + self.usage.path_seconds)
