"""An asked call from asking to its ledger row: what travels down the call path to `share`.

Invariant: each call ends in exactly one outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from operator import sub
from typing import NamedTuple

import orjson

from callwise.budget.clock import Clock
from callwise.budget.counters import LedgerError
from callwise.budget.critical_path import CriticalPathPoint, CriticalPathTrack
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import NOTHING, Amounts, Reservation
from callwise.budget.recorder import CallOrigin
from callwise.budget.scope import Scope
from callwise.budget.token_estimate import Estimator
from callwise.budget.usage import NO_USAGE
from callwise.budget.work import Work
from callwise.calls.answer_text import was_cut
from callwise.calls.call import Call, Origin, Outcome
from callwise.calls.client import Endpoint
from callwise.calls.errors import CallRefused, InvalidAnswer
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply
from callwise.calls.structured import read_answer

__all__ = ["InFlightCall", "ReadReply", "read_reply", "step_mark"]

_ONE_CALL = Amounts(calls=1)


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
        reservation: what it has taken from the limits.
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
        "call",
        "endpoint",
        "is_admitted",
        "key",
        "path_seconds",
        "position",
        "refusal",
        "reservation",
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
    reservation: Reservation

    def __init__(self, call: Call, scope: Scope, track: CriticalPathTrack) -> None:
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
        self._where: CallOrigin | None = None

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
        self.reservation = Reservation(self.scope.bounds.rooms(call.role))

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
    def where(self) -> CallOrigin:
        """Where it was asked, and of which endpoint, for a recording."""
        if self._where is None:
            scope, call, endpoint = self.scope, self.call, self.endpoint
            self._where = CallOrigin(
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
    def end(self) -> CriticalPathPoint:
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
            spent: itself, and what it spent by a recording.
            over: the part of `spent` that passed what had been reserved.
            by_path: hold deadlines against the path: the call is a recorded one.

        Raises:
            CallRefused: when there is no quota or no time.
        """
        self.is_admitted = True
        bounds = self.scope.bounds
        refusal = bounds.refusal_by_time(self.position, by_path=by_path, lease=self.call.lease)
        if refusal is None:
            if self.call.lease is not None:
                self.reservation.share = bounds.draw(self.call.lease)
            asked = spent if over == NOTHING else Amounts(*map(sub, spent, over))
            refusal = self.reservation.take(asked, is_recorded=by_path)
        if refusal is not None:
            self.refuse(refusal)
        if over != NOTHING:
            self.reservation.charge(over)
            self.reservation.pass_reservation(over)

    def refuse(self, refusal: CallRefused) -> None:
        """End it for lack of quota, and raise the refusal.

        Raises:
            CallRefused: always.
        """
        self.refusal = refusal
        self.reservation.refuse()
        self.finish(Outcome.REFUSED)
        raise refusal

    def new_work(self, estimator: Estimator) -> Work:
        """Return work that this call pays for, nothing of it reserved yet."""
        return Work(
            self.call,
            self.endpoint,
            self.key,
            estimator=estimator,
            bounds=self.scope.bounds,
            reservation=self.reservation,
            position=self.position,
        )

    def take_over(self, payer: "InFlightCall") -> CallRefused | None:
        """Pay from now on for the work that `payer` paid for, or return why not."""
        work = payer.work
        if work is None:
            raise LedgerError(f"call {payer.sequence} has no work to take over")
        if self.reservation.limits_spending:
            work.estimate_reservation()
        refusal = payer.reservation.move_to(self.reservation)
        if refusal is not None:
            self.refusal = refusal
            return refusal
        payer.work = None
        self.work = work
        work.move_to(self.scope.bounds, self.reservation, self.position)
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
        self.reservation.close()
        if not (self.was_found or clock.is_virtual):
            self.path_seconds = clock.now() - self.started_at_seconds
        if self._outcome is None and error is not None:
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
            is_simulated: whether its answer is marked as simulated.
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
