"""One asked call from asking to its ledger row."""

from operator import sub

from turnwise.budget.account import Account
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.path import Position
from turnwise.budget.recorder import Where
from turnwise.budget.room import NOTHING, Amounts
from turnwise.budget.scope import Scope
from turnwise.budget.sending import Sending
from turnwise.budget.tally import LedgerError
from turnwise.budget.usage import NO_USAGE
from turnwise.calls.call import Call, Origin
from turnwise.calls.client import Endpoint
from turnwise.calls.errors import CallRefused
from turnwise.calls.key import CallKey
from turnwise.calls.vocabulary import Outcome

__all__ = ["OpenCall", "step_mark"]

_ONE_CALL = Amounts(calls=1)


def step_mark(origin: Origin) -> str:
    """Return what the path of a node's scope ends in: its step, as `#3.1-2`."""
    return f"#{origin.step}" if origin.step else ""


class OpenCall:
    """One asked call that has not ended, or has just ended.

    Args:
        call: what was asked.
        scope: where.
        endpoint: who would serve it.
        key: its identity.
        sequence: its number. Starts at 1.
        position: where on its scope's path it starts.
        started_at_seconds: when, by the clock.

    Attributes:
        account: what it has taken from the limits.
        sending: the work that it pays for, or None when it pays for none.
        usage: what that work has spent, once this call has ended.
        usage_note: what is odd about the usage that was reported.
        refusal: why the budget had no room for it, where it had none.
        was_found: whether a recording had an exchange for it.
        path_seconds: what it adds to its scope's path, once it has ended.
    """

    __slots__ = (
        "_outcome",
        "_where",
        "account",
        "call",
        "endpoint",
        "key",
        "path_seconds",
        "position",
        "refusal",
        "scope",
        "sending",
        "sequence",
        "started_at_seconds",
        "usage",
        "usage_note",
        "was_found",
    )

    def __init__(
        self,
        call: Call,
        scope: Scope,
        endpoint: Endpoint,
        key: CallKey,
        *,
        sequence: int,
        position: Position,
        started_at_seconds: float,
    ) -> None:
        self.call = call
        self.scope = scope
        self.endpoint = endpoint
        self.key = key
        self.sequence = sequence
        self.position = position
        self.started_at_seconds = started_at_seconds
        self.account = Account(scope.bounds.rooms(call.role))
        self.sending: Sending | None = None
        self.usage = NO_USAGE
        self.usage_note = ""
        self.refusal: CallRefused | None = None
        self.was_found = False
        self.path_seconds = 0.0
        self._outcome: Outcome | None = None
        self._where: Where | None = None

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

    def take_over(self, payer: "OpenCall") -> CallRefused | None:
        """Pay from now on for the work that `payer` paid for, or return why not."""
        sending = payer.sending
        if sending is None:
            raise LedgerError(f"call {payer.sequence} has no bill to take over")
        if self.account.limits_spending:
            sending.estimate_reservation()
        refusal = payer.account.move_to(self.account)
        if refusal is not None:
            self.refusal = refusal
            return refusal
        payer.sending = None
        self.sending = sending
        sending.move_to(self.scope.bounds, self.account, self.position)
        return None

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
