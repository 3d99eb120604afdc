"""An asked call from asking to its ledger row: what travels down the call path to `share`.

Invariant: each call ends in exactly one outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, NoReturn

import orjson

from callwise.budget.clock import Clock
from callwise.budget.counters import LedgerError
from callwise.budget.critical_path import CriticalPathPoint, CriticalPathTrack
from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import NOTHING, Amounts, Reservation
from callwise.budget.recorder import CallOrigin
from callwise.budget.scope import Scope
from callwise.budget.usage import NO_USAGE
from callwise.budget.work import Work
from callwise.calls.answer_text import was_cut
from callwise.calls.call import Call, Message, Origin, Outcome
from callwise.calls.client import Endpoint
from callwise.calls.delivery import DIRECT
from callwise.calls.errors import BudgetStoreLost, CallRefused, InvalidAnswer
from callwise.calls.key import CallKey
from callwise.calls.reply import Reply
from callwise.calls.structured import read_answer

__all__ = ["InFlightCall", "ReadReply", "read_reply", "require_calls", "step_mark"]

_ONE_CALL = Amounts(calls=1)


class ReadReply(NamedTuple):
    """A reply, read as what its call asked for."""

    reply: Reply
    """Its `parsed` is set where it fits a response model."""
    invalid: InvalidAnswer | None = None
    """Reason why it does not fit, or None when it does."""
    notes: tuple[str, ...] = ()
    """Repairs and omissions that were needed to read it, in a few words each."""


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


def require_calls(*given: object) -> None:
    """Do nothing for calls whose messages are messages.

    Raises:
        TypeError: names what was given, and the way to write it.
    """
    for call in given:
        if not isinstance(call, Call):
            raise TypeError(
                f"a budgeter is asked a Call, got {call!r:.60}. Write Call(Role.MAIN, "
                'Purpose.OTHER, (Message("user", "..."),)), or ask a chat model: '
                "cw.wrap(model, budgeter).invoke(...)"
            )
        if call.messages and not isinstance(call.messages[0], Message):
            raise TypeError(
                f"the messages of a Call are Message(role, content), got {call.messages[0]!r:.60}. "
                'Write (Message("user", "..."),)'
            )


class InFlightCall:
    """One asked call that has not ended, or has just ended.

    Its track is on its scope's path, which the ledger advances to the call's end.
    """

    endpoint: Endpoint
    """The endpoint that would serve it."""
    key: CallKey
    sequence: int
    """Its number. Starts at 1."""
    started_at_seconds: float
    """Its start by the clock."""
    before_seconds = 0.0
    """Time of the calls that it repairs, which have the same deadline."""
    reservation: Reservation
    """Amounts that it has taken from the limits."""
    is_admitted = False
    """Whether it was counted against the limits, or refused."""
    was_found = False
    """Whether a recording had an exchange for it."""
    store: Callable[[CallKey, Reply], Awaitable[None]] | None = None
    """Keeps a usable reply of a shared call for later equal ones; None keeps nothing."""
    work: Work | None = None
    """The work that it pays for, or None when it pays for none."""
    is_alone = False
    """Whether no other call can wait for that work."""
    usage = NO_USAGE
    """Usage of that work, once this call has ended."""
    usage_note = ""
    """Oddity of the usage that was reported."""
    delivery = DIRECT
    """Way on which it was answered, once this call has ended."""
    refusal: CallRefused | BudgetStoreLost | None = None
    """Reason why the limits did not admit it, where they did not."""
    path_seconds = 0.0
    """Time that it adds to its scope's path, once it has ended."""
    outcome: Outcome | None = None
    """Its outcome, or None while it has not ended."""
    _is_closed = False

    def __init__(self, call: Call, scope: Scope, track: CriticalPathTrack) -> None:
        self.call = call
        self.scope = scope
        self.track = track
        self.position = track.position

    def open(
        self, call: Call, endpoint: Endpoint, key: CallKey, *, sequence: int, now_seconds: float
    ) -> None:
        """Set its identity; `call` is the question as completed by its endpoint."""
        self.call = call
        self.endpoint = endpoint
        self.key = key
        self.sequence = sequence
        self.started_at_seconds = now_seconds
        self.reservation = Reservation(self.scope.scope_limits.quotas(call.role))

    @cached_property
    def where(self) -> CallOrigin:
        """The place where it was asked, and its endpoint, for a recording."""
        scope, call, endpoint = self.scope, self.call, self.endpoint
        # Equal tasks are distinguished. Steps are left out: a node that asks a step later asks
        # the same.
        lane, origin = scope.path, call.origin
        if origin is not None:
            lane = lane.removesuffix(step_mark(origin)) + (f"#{origin.task}" if origin.task else "")
        return CallOrigin(
            lane,
            scope.conversation,
            scope.turn,
            scope.node,
            call.role,
            call.purpose,
            endpoint.name,
            endpoint.model,
        )

    @property
    def end(self) -> CriticalPathPoint:
        """Its end on the path. A refused call waited for nothing."""
        return self.position.after(self.outcome is not Outcome.REFUSED, self.path_seconds)

    def finish(self, outcome: Outcome) -> None:
        """Set how it ended, once.

        Raises:
            LedgerError: when that was set before.
        """
        if self.outcome is not None:
            raise LedgerError(f"call {self.sequence} ended {self.outcome}, and then {outcome}")
        self.outcome = outcome

    def admit(
        self, spent: Amounts = _ONE_CALL, *, over: Amounts = NOTHING, by_path: bool = False
    ) -> None:
        """Count it against the limits, before an answer is looked for.

        Args:
            spent: itself, and what it spent by a recording.
            over: the part of `spent` that passed what had been reserved.
            by_path: check deadlines against the path: the call is a recorded one.

        Raises:
            CallRefused: when there is no quota or no time.
        """
        self.is_admitted = True
        limits, lease = self.scope.scope_limits, self.call.lease
        refusal = limits.refusal_by_time(self.position, by_path=by_path, lease=lease)
        if refusal is None:
            if lease is not None:
                limits.draw(lease, self.reservation)
            asked = spent if over is NOTHING else spent - over
            refusal = self.reservation.take(asked, is_recorded=by_path)
        if refusal is not None:
            self.refuse(refusal)
        if over != NOTHING:
            self.reservation.charge(over)
            self.reservation.pass_reservation(over)

    def seconds_left(self, clock: Clock, path_seconds: float = 0.0) -> float | None:
        """Return the time until the nearest deadline, its own or a scope's; None without one.

        Args:
            path_seconds: time that it has added to its scope's path so far.
        """
        limits, own = self.scope.scope_limits, self.call.deadline_seconds
        left = None
        if limits.is_timed:
            position = self.position
            left = limits.seconds_left(
                CriticalPathPoint(position.round, position.seconds + path_seconds)
            )
        if own is None:
            return left
        own = max(own - self._elapsed_seconds(clock, path_seconds), 0.0)
        return own if left is None else min(left, own)

    def refusal_by_deadline(self, clock: Clock, path_seconds: float) -> CallRefused | None:
        """Return why its own deadline leaves no time for an attempt; None when there is time."""
        own = self.call.deadline_seconds
        if own is None:
            return None
        elapsed_seconds = self._elapsed_seconds(clock, path_seconds)
        if elapsed_seconds < own:
            return None
        return CallRefused(self.scope.path, "deadline_seconds", own, elapsed_seconds, 0)

    def _elapsed_seconds(self, clock: Clock, path_seconds: float) -> float:
        own_seconds = path_seconds if clock.is_virtual else clock.now() - self.started_at_seconds
        return self.before_seconds + own_seconds

    def refuse(self, refusal: CallRefused | BudgetStoreLost) -> NoReturn:
        """End it for lack of quota, or because none can be asked for, and raise the refusal.

        Raises:
            CallRefused: always; or `BudgetStoreLost`.
        """
        self.refusal = refusal
        if self.work is not None:
            self.work.close()
        self.reservation.refuse()
        self.finish(Outcome.REFUSED)
        raise refusal

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
        payer.work, self.work, work.payer = None, work, self
        return None

    def close(self, clock: Clock, error: BaseException | None) -> None:
        """Settle what is open, and set its outcome where no layer has. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        work = self.work
        if work is not None:
            work.close()
            self.usage, self.usage_note = work.usage, work.usage_note
            self.delivery = work.delivery
            self.path_seconds = self.usage.path_seconds
            if self.is_alone and self.call.listener is None:
                self.work = None  # nothing else reads it, and the two would keep each other
        self.reservation.close()
        is_refused = self.outcome is Outcome.REFUSED  # it waited for nothing, as in its replay
        if not (self.was_found or clock.is_virtual or is_refused):
            self.path_seconds = clock.now() - self.started_at_seconds
        if self.outcome is None and error is not None:
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
        """Return its ledger row, once its track is at its end; `error` and `notes` have no secrets.

        Raises:
            LedgerError: when it has not ended.
        """
        if self.outcome is None:
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
            outcome=self.outcome,
            sample=call.sample,
            repair=call.repair,
            is_speculative=call.speculative,
            is_simulated=is_simulated or endpoint.client.is_simulated,
            is_unreadable=is_unreadable,
            usage=self.usage,
            path_seconds=self.path_seconds,
            end_round=self.track.position.round - scope.first_round,
            key=self.key,
            error=error,
            notes=notes,
            delivery=self.delivery,
            choice=call.choice,
        )
