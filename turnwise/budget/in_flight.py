"""What travels down the call path: an asked call, and the work that is paid for it.

An `InFlightCall` lives from asking to its ledger row. `Work` is the part that costs; it may
outlive the call that began it, when the payer is cancelled and another asker of an equal call
pays from then on. So layers below `share` read who pays from the work at each use.

Invariant: each call ends in exactly one outcome; each reservation is settled once, on every
path, synchronously.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from operator import sub
from typing import NamedTuple

import orjson

from turnwise.budget.account import Account
from turnwise.budget.clock import Clock
from turnwise.budget.estimate import Estimate, Estimator
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.path import Position, Track
from turnwise.budget.recorder import Where
from turnwise.budget.room import NOTHING, Amounts
from turnwise.budget.scope import Scope
from turnwise.budget.tally import LedgerError
from turnwise.budget.usage import NO_USAGE, Usage, attempt_usage, to_microseconds
from turnwise.calls.answer_text import was_cut
from turnwise.calls.call import Call, Origin
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import CallError, CallRefused, InvalidAnswer
from turnwise.calls.key import CallKey
from turnwise.calls.listener import CallEnd, Piece, reply_of_pieces
from turnwise.calls.reply import Reply
from turnwise.calls.reply import Usage as ReportedUsage
from turnwise.calls.structured import read_answer
from turnwise.calls.usage import usage_note
from turnwise.calls.vocabulary import Outcome

__all__ = ["InFlightCall", "ReadReply", "Work", "read_reply", "step_mark"]

_ONE_CALL = Amounts(calls=1)
_ONE_REQUEST = Amounts(requests=1)


class ReadReply(NamedTuple):
    """A reply, read as what its call asked for.

    Args:
        reply: the reply, its `parsed` set where it fits a response model.
        invalid: why it does not fit, or None when it does.
        notes: what had to be repaired or left out to read it, in a few words each.
    """

    reply: Reply
    invalid: InvalidAnswer | None = None
    notes: tuple[str, ...] = ()


def read_reply(call: Call, reply: Reply) -> ReadReply:
    """Return a reply read as the call's response model, where it has one.

    The answer is its text, or what takes its place: the arguments of a tool call, or the
    model's reasoning. A reply to a call with tools that calls some of them and has no text is
    left as it is, for the caller that gave the model tools.
    """
    is_blank = not reply.text.strip()
    if call.response_model is None or (call.tools and reply.tool_calls and is_blank):
        return ReadReply(reply)
    problem: InvalidAnswer | None = None
    for text, note in _texts(reply):
        try:
            read = read_answer(
                text,
                call.response_model,
                finish_reason=reply.finish_reason,
                prompt=call.messages,
                is_thoughts=bool(text) and text == reply.reasoning_text,
            )
        except InvalidAnswer as invalid:
            problem = problem or invalid
        else:
            notes = (note, *read.notes) if note else read.notes
            return ReadReply(replace(reply, parsed=read.parsed), notes=notes)
    return ReadReply(reply, problem)


def _texts(reply: Reply) -> Iterator[tuple[str, str]]:
    """Yield the texts that may contain the answer, each with a note on where it was."""
    yield reply.text, ""
    for tool_call in reply.tool_calls:
        function = tool_call.get("function")
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(arguments, Mapping):
            arguments = orjson.dumps(dict(arguments)).decode()
        if isinstance(arguments, str) and arguments != reply.text:
            yield arguments, "read from a tool call"
    # A model that was cut while it reasoned has not answered.
    if not (reply.text.strip() or was_cut(reply.finish_reason)):
        yield reply.reasoning_text, "read from the reasoning"


def step_mark(origin: Origin) -> str:
    """Return the end of the path of a node's scope: its step, as `#3.1-2`."""
    return f"#{origin.step}" if origin.step else ""


class InFlightCall:
    """One asked call that has not ended, or has just ended.

    Args:
        call: what was asked.
        scope: where.
        track: where on its scope's path it starts; moved to where it ended.

    Attributes:
        endpoint: which endpoint would serve it.
        key: its identity.
        sequence: its number. Starts at 1.
        position: where on its scope's path it starts.
        started_at_seconds: when, by the clock.
        account: what it has taken from the limits.
        is_admitted: whether it was counted against the limits, or refused.
        store: keeps a usable reply of a shared call for later equal ones; None keeps nothing.
        work: the work that it pays for, or None when it pays for none.
        usage: what that work has spent, once this call has ended.
        usage_note: what is odd about the usage that was reported.
        refusal: why the limits did not admit it, where they did not.
        was_found: whether a recording had an exchange for it.
        path_seconds: what it adds to its scope's path, once it has ended.
    """

    __slots__ = (
        "_is_closed",
        "_outcome",
        "_where",
        "account",
        "call",
        "endpoint",
        "is_admitted",
        "key",
        "path_seconds",
        "position",
        "refusal",
        "scope",
        "sequence",
        "started_at_seconds",
        "store",
        "track",
        "usage",
        "usage_note",
        "was_found",
        "work",
    )

    endpoint: Endpoint
    key: CallKey
    sequence: int
    started_at_seconds: float
    account: Account

    def __init__(self, call: Call, scope: Scope, track: Track) -> None:
        self.call = call
        self.scope = scope
        self.track = track
        self.position = track.position
        self.is_admitted = self.was_found = self._is_closed = False
        self.store: Callable[[CallKey, Reply], Awaitable[None]] | None = None
        self.work: Work | None = None
        self.usage = NO_USAGE
        self.usage_note = ""
        self.refusal: CallRefused | None = None
        self.path_seconds = 0.0
        self._outcome: Outcome | None = None
        self._where: Where | None = None

    def open(
        self, call: Call, endpoint: Endpoint, key: CallKey, *, sequence: int, now_seconds: float
    ) -> None:
        """Give it its identity.

        Args:
            call: what was asked, completed by its endpoint.
            endpoint: which endpoint would serve it.
            key: its identity.
            sequence: its number. Starts at 1.
            now_seconds: the time, by the clock.
        """
        self.call = call
        self.endpoint = endpoint
        self.key = key
        self.sequence = sequence
        self.started_at_seconds = now_seconds
        self.account = Account(self.scope.bounds.rooms(call.role))

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, or None while it has not."""
        return self._outcome

    @property
    def _lane(self) -> str:
        """The task that asked: its scope's path, with what distinguishes equal tasks.

        Steps are left out: a node that asks a step later asks the same.
        """
        origin = self.call.origin
        if origin is None:
            return self.scope.path
        lane = self.scope.path.removesuffix(step_mark(origin))
        return f"{lane}#{origin.task}" if origin.task else lane

    @property
    def where(self) -> Where:
        """Who asked, and whom, for a recording."""
        if self._where is None:
            scope, call, endpoint = self.scope, self.call, self.endpoint
            self._where = Where(
                self._lane,
                scope.conversation,
                scope.turn,
                scope.node,
                call.role,
                call.purpose,
                endpoint.name,
                endpoint.model,
            )
        return self._where

    @property
    def end(self) -> Position:
        """Where on the path it ended. A refused call waited for nothing."""
        return self.position.after(self._outcome is not Outcome.REFUSED, self.path_seconds)

    def finish(self, outcome: Outcome) -> None:
        """Say how it ended, once.

        Raises:
            LedgerError: when that was said before.
        """
        if self._outcome is not None:
            raise LedgerError(f"call {self.sequence} ended {self._outcome}, and then {outcome}")
        self._outcome = outcome

    def admit(
        self, spent: Amounts = _ONE_CALL, *, over: Amounts = NOTHING, by_path: bool = False
    ) -> None:
        """Count it against the limits, before anyone looks for an answer.

        Args:
            spent: itself, and what a recording says it spent.
            over: the part of `spent` that passed what had been reserved.
            by_path: hold deadlines against the path: the call is a recorded one.

        Raises:
            CallRefused: when there is no room or no time.
        """
        self.is_admitted = True
        bounds = self.scope.bounds
        refusal = bounds.refusal_by_time(self.position, by_path=by_path, lease=self.call.lease)
        if refusal is None:
            if self.call.lease is not None:
                self.account.credit = bounds.draw(self.call.lease)
            asked = spent if over == NOTHING else Amounts(*map(sub, spent, over))
            refusal = self.account.take(asked, is_recorded=by_path)
        if refusal is not None:
            self.refuse(refusal)
        if over != NOTHING:
            self.account.charge(over)
            self.account.pass_reservation(over)

    def refuse(self, refusal: CallRefused) -> None:
        """End it for want of room, and raise that.

        Raises:
            CallRefused: always.
        """
        self.refusal = refusal
        self.account.refuse()
        self.finish(Outcome.REFUSED)
        raise refusal

    def take_over(self, payer: "InFlightCall") -> CallRefused | None:
        """Pay from now on for the work that `payer` paid for, or return why not."""
        work = payer.work
        if work is None:
            raise LedgerError(f"call {payer.sequence} has no bill to take over")
        if self.account.limits_spending:
            work.estimate_reservation()
        refusal = payer.account.move_to(self.account)
        if refusal is not None:
            self.refusal = refusal
            return refusal
        payer.work = None
        self.work = work
        work.move_to(self)
        return None

    def close(self, clock: Clock, error: BaseException | None) -> None:
        """Settle what is open, and set its outcome where no layer has. Safe to call twice.

        Args:
            clock: time.
            error: what ended it; None when it was answered.
        """
        if self._is_closed:
            return
        self._is_closed = True
        work = self.work
        if work is not None:
            work.close()
            self.usage, self.usage_note = work.usage, work.usage_note
            self.path_seconds = self.usage.path_seconds
        self.account.close()
        if not (self.was_found or clock.is_virtual):
            self.path_seconds = clock.now() - self.started_at_seconds
        if self._outcome is None:
            is_gone = isinstance(error, asyncio.CancelledError | GeneratorExit)
            self.finish(Outcome.CANCELLED if is_gone else Outcome.FAILED)

    def row(
        self,
        error: str | None,
        *,
        is_simulated: bool = False,
        is_unreadable: bool = False,
        notes: str = "",
    ) -> LedgerRow:
        """Return its ledger row.

        Args:
            error: what went wrong, without secrets.
            is_simulated: whether its answer says that it is simulated.
            is_unreadable: whether its answer is not in the form that was asked for.
            notes: what had to be mended to read its answer, without secrets.

        Raises:
            LedgerError: when it has not ended.
        """
        if self._outcome is None:
            raise LedgerError(f"call {self.sequence} has not ended")
        call, scope, endpoint = self.call, self.scope, self.endpoint
        return LedgerRow(
            sequence=self.sequence,
            scope=scope.path,
            conversation=scope.conversation,
            turn=scope.turn,
            node=scope.node,
            role=call.role,
            purpose=call.purpose,
            endpoint=endpoint.name,
            model=endpoint.model,
            outcome=self._outcome,
            sample=call.sample,
            repair=call.repair,
            is_speculative=call.speculative,
            is_simulated=is_simulated or endpoint.client.is_simulated,
            is_unreadable=is_unreadable,
            usage=self.usage,
            path_seconds=self.path_seconds,
            end_round=self.end.round - scope.first_round,
            key=self.key,
            error=error,
            notes=notes,
        )


class Work:
    """The work of getting one call answered.

    Args:
        payer: the call that pays first.
        estimator: what to reserve.

    Attributes:
        call: what was asked.
        sent_call: what the next attempt sends; `call`, maybe with more tokens to answer with.
        endpoint: who is asked.
        key: the call's identity.
        usage: what it has spent so far.
        usage_note: what is odd about the usage that was reported.
        left_seconds: time left when the attempt began; None without a deadline.
        is_cut_by_deadline: whether the timeout of the attempt was cut to the time left.
        sent_count: requests that left in this attempt.
    """

    __slots__ = (
        "_account",
        "_bounds",
        "_estimated",
        "_estimator",
        "_given_count",
        "_is_attempting",
        "_position",
        "_received",
        "_reserved",
        "call",
        "endpoint",
        "is_cut_by_deadline",
        "key",
        "left_seconds",
        "sent_call",
        "sent_count",
        "usage",
        "usage_note",
    )

    def __init__(self, payer: InFlightCall, estimator: Estimator) -> None:
        self.call = self.sent_call = payer.call
        self.endpoint = payer.endpoint
        self.key = payer.key
        self.usage = NO_USAGE
        self.usage_note = ""
        self.left_seconds: float | None = None
        self.is_cut_by_deadline = False
        self.sent_count = 0
        self._estimator = estimator
        self._estimated: Estimate | None = None
        self._reserved: Amounts | None = None
        self._is_attempting = False
        self._received: list[Piece] = []
        self._given_count = 0
        self.move_to(payer)

    def move_to(self, payer: InFlightCall) -> None:
        """Charge another call from now on. What is taken so far has been moved already."""
        self._bounds = payer.scope.bounds
        self._account = payer.account
        self._position = payer.position

    def reserve(self) -> CallRefused | None:
        """Reserve one attempt, or return why there is no quota or time for it."""
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

    def seconds_left(self) -> float | None:
        """Return the time until the nearest deadline of the payer; None without one."""
        return self._bounds.seconds_left(self._now()) if self._bounds.is_timed else None

    def begin_attempt(self) -> None:
        """Begin an attempt, which `reserve` has found quota for."""
        self.left_seconds = self.seconds_left()
        self.sent_count = 0
        self._received.clear()
        self._is_attempting = True

    def count_sent(self, index: int) -> None:
        """Count a request that has left the machine."""
        del index
        self.sent_count += 1

    def settle(self, result: Reply | CallError | None, latency_seconds: float) -> None:
        """Charge what the attempt really used. Does nothing when that was done.

        Args:
            result: how it ended; None when it was broken off.
            latency_seconds: how long it took.
        """
        reserved, self._reserved = self._reserved, None
        self._is_attempting = False
        if reserved is None:
            return
        requests = self.sent_count
        if requests == 0 and result is not None and getattr(result, "was_sent", True):
            requests = 1
        prices = self.endpoint.prices
        spent = attempt_usage(
            result,
            requests,
            latency_seconds,
            prices=prices,
            estimate=self._estimate,
            received=self._estimate_received if self._received else None,
        )
        if isinstance(result, Reply):
            self.usage_note = usage_note(self.sent_call, result) or self.usage_note
            if self._estimated is not None:
                has_parts = any(message.parts for message in self.sent_call.messages)
                if not has_parts:  # what images cost teaches nothing
                    self._estimator.observe(self._estimated, self.endpoint, result.usage)
        charged = Amounts(0, requests, spent.charged_tokens, spent.charged_picodollars)
        self._account.settle(reserved, charged)
        if reserved is not _ONE_REQUEST:
            tokens = max(charged.tokens - reserved.tokens, 0)
            picodollars = 0
            if prices is not None:
                picodollars = max(charged.picodollars - reserved.picodollars, 0)
            if tokens or picodollars:
                self._account.pass_reservation(Amounts(0, 0, tokens, picodollars))
                spent = spent._replace(over_tokens=tokens, over_picodollars=picodollars)
        self.usage = spent if self.usage is NO_USAGE else self.usage + spent

    def close(self) -> None:
        """Settle what is still reserved. Does nothing after a whole run."""
        if self._reserved is not None:
            if self._is_attempting:
                self.settle(None, 0.0)
            else:
                self._account.settle(self._reserved, Amounts())
                self._reserved = None

    def add_retry_seconds(self, seconds: float) -> None:
        """Count a wait between two attempts."""
        self.usage += Usage(retry_microseconds=to_microseconds(seconds))

    def ask_for_more(self, max_growth: int) -> None:
        """Double the tokens that the next attempt may answer with, up to a multiple."""
        most = self.call.sampling.max_tokens
        sampling = self.sent_call.sampling
        if most is None or sampling.max_tokens is None:
            return
        more = min(sampling.max_tokens * 2, most * max_growth)
        self.sent_call = replace(self.sent_call, sampling=replace(sampling, max_tokens=more))
        self._estimated = None

    # As the listener of a streamed answer.

    def on_piece(self, piece: Piece) -> None:
        """Give a piece of the answer to the call's listener, and keep it.

        A blank beginning is kept back: it may be all that comes, and be asked for again. A
        call with a response model gives out nothing, since its answer counts only when it fits.
        """
        if not any(piece):
            return
        self._received.append(piece)
        listener = self.call.listener
        if listener is None or self.call.response_model is not None:
            return
        if self._given_count or not piece.is_blank:
            for kept in self._received[self._given_count :]:
                if kept.is_answer:
                    listener.on_piece(kept)
            self._given_count = len(self._received)

    def on_end(self, end: CallEnd) -> None:
        """Do nothing: the call has a row, its work has none."""

    @property
    def was_given_out(self) -> bool:
        """Whether the listener was given a part of the answer."""
        return self._given_count > 0

    def given_out(self) -> Reply | None:
        """Return what the listener was given of the answer, or None for nothing."""
        if not self._given_count:
            return None
        return reply_of_pieces(self._received[: self._given_count])

    def _estimate(self) -> Estimate:
        if self._estimated is None:
            self._estimated = self._estimator.estimate(self.sent_call, self.endpoint)
        return self._estimated

    def _estimate_received(self) -> tuple[ReportedUsage, Estimate]:
        reply = reply_of_pieces(self._received)
        return self._estimator.received(self.sent_call, self.endpoint, reply)

    def _now(self) -> Position:
        return Position(self._position.round, self._position.seconds + self.usage.path_seconds)
