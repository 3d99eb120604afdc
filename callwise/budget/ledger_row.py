"""One line of the ledger: how one asked call ended, and what it spent."""

from collections.abc import MutableSequence
from operator import attrgetter
from typing import Any, NamedTuple

from callwise.budget.usage import JSON_NAMES, Usage
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.choice import Choice
from callwise.calls.delivery import DIRECT, Delivery
from callwise.calls.key import CallKey

__all__ = ["LedgerRow", "amend_choice"]


class LedgerRow(NamedTuple):
    """Outcome and usage of one asked call.

    The fields of its usage can be read from the row itself, as `row.requests`.

    Args:
        sequence: in which order the calls were asked. Starts at 1.
        scope: path of its innermost scope, such as `run/conv:a/turn:3/node:detection`.
        conversation: name of its conversation scope, or None.
        turn: name of its turn scope, or None.
        node: name of its innermost node scope, or None.
        role: the role that was asked, which decides the endpoint.
        purpose: the purpose of the question, such as `judge`.
        endpoint: name of the endpoint that was asked.
        model: name of its model.
        outcome: how it ended, one of seven words; see `docs/counting.md`.
        sample: which resample it was. Starts at 0.
        repair: how many times the question had been asked before. Starts at 0.
        is_speculative: asked before it was known to be needed.
        is_simulated: whether a simulated model answers at this endpoint.
        is_unreadable: whether it was answered, and not in the form that was asked for.
        usage: what it spent. It is on the row of the call that paid, once; on a replayed row
            it is what the recording paid. Cached and coalesced rows have none: their answer
            was paid for by another call.
        path_seconds: what it adds to its scope's path: from its start to its end, or
            the recorded or virtual time that would have been.
        end_round: the round it ended in, counted from the start of its turn (of the
            run outside of one). The first calls of a turn end in round 1.
        key: identity of the call, 64 hexadecimal digits.
        error: what went wrong, without secrets: the name of the error's class, and its
            text after a colon. None when nothing did. A call that was answered has one
            where the answer is unreadable.
        notes: what had to be repaired or left out to read the answer, joined by "; ";
            empty where nothing had to be.
        delivery: how its answer came, as recorded where it is replayed.
        choice: why its model was asked, where a policy has chosen it.
    """

    sequence: int
    scope: str
    conversation: str | None
    turn: str | None
    node: str | None
    role: Role
    purpose: Purpose
    endpoint: str
    model: str
    outcome: Outcome
    sample: int
    repair: int
    is_speculative: bool
    is_simulated: bool
    is_unreadable: bool
    usage: Usage
    path_seconds: float
    end_round: int
    key: CallKey
    error: str | None
    notes: str
    delivery: Delivery = DIRECT
    choice: Choice | None = None

    @property
    def error_name(self) -> str:
        """Name of the error's class; empty where nothing went wrong."""
        return (self.error or "").partition(":")[0]

    @property
    def usd(self) -> float | None:
        """Known cost, or None when the cost of one of its requests is not known."""
        return None if self.usage.unknown_usd else self.usage.usd

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values in a fixed order, its usage by flat names.

        A usual delivery is left out, and of another one what is as usual; no choice likewise.
        """
        document: dict[str, Any] = {}
        for name, value in zip(self._fields, self, strict=True):
            if isinstance(value, Usage):
                document |= value.to_json()
            elif isinstance(value, Delivery):
                if value != DIRECT:
                    document[name] = value.to_json()
            elif isinstance(value, Choice):
                document[name] = value.to_json()
            elif name == "choice":
                continue
            else:
                document[name] = value
        for name in _NOT_IN_ROWS:
            del document[name]
        document["usd"] = self.usd
        return document


_NOT_IN_ROWS = ("charged_tokens", "charged_usd")
"""Fields of the usage that only recordings need: a replay charges what was charged."""

for _name in {*Usage._fields, *JSON_NAMES} - {"usd"}:
    setattr(LedgerRow, _name, property(attrgetter(f"usage.{_name}")))


def amend_choice(rows: MutableSequence[LedgerRow], sequence: int, choice: Choice) -> None:
    """Change the choice in the latest row of a call, where it is among these."""
    for back, row in enumerate(reversed(rows), start=1):
        if row.sequence == sequence:
            rows[-back] = row._replace(choice=choice)
            return
