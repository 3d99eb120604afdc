"""One line of the ledger: how one asked call ended, and what it spent."""

from typing import Any, NamedTuple

from turnwise.budget.room import PICODOLLARS
from turnwise.calls.key import CallKey
from turnwise.calls.vocabulary import Outcome, Purpose, Role

__all__ = ["LedgerRow"]


class LedgerRow(NamedTuple):
    """How one asked call ended.

    Requests, attempts, tokens and cost stand on the row of the call that paid, once;
    on a replayed row they are what the recording paid. Cached and coalesced rows have
    none: their answer was paid for elsewhere.

    Args:
        sequence: in which order the calls were asked. Starts at 1.
        scope: path of the scope that asked.
        conversation: name of its conversation scope, or None.
        turn: name of its turn scope, or None.
        node: name of its innermost node scope, or None.
        role: which model was asked.
        purpose: what for.
        endpoint: name of the endpoint.
        model: the model's name there.
        outcome: how it ended.
        sample: which resample it was. Starts at 0.
        repair: how many times the question had been asked before. Starts at 0.
        is_speculative: asked before it was known to be needed.
        is_simulated: whether a simulated model answers at this endpoint.
        is_unreadable: whether it was answered, and not in the form that was asked for.
        attempts: tries at serving it, retries included.
        requests: HTTP requests that left the machine for it.
        sent: those of them that left now; 0 where a recording answered.
        input_tokens: known prompt tokens of all its attempts.
        output_tokens: known answer tokens of all its attempts.
        cached_tokens: known prompt tokens found in the provider's prompt cache.
        picodollars: known cost in 1e-12 USD.
        unknown_usage: its requests whose tokens are not known.
        unknown_usd: its requests whose cost is not known.
        over_tokens: tokens that it was billed beyond what was reserved for it; 0 where
            nothing had to be reserved.
        over_picodollars: the same in 1e-12 USD.
        work_seconds: time of all its attempts.
        retry_seconds: waits between its attempts.
        path_seconds: what it adds to its scope's path: from its start to its end, or
            the recorded or virtual time that would have been.
        end_round: the round it ended in, counted from the start of its turn (of the
            run outside of one). The first calls of a turn end in round 1.
        key: identity of the call, 64 hexadecimal digits.
        error: what went wrong, without secrets: the name of the error's class, and its
            text after a colon. None when nothing did. A call that was answered has one
            where the answer is unreadable.
        notes: what had to be mended or left out to read the answer, joined by "; ";
            empty where nothing had to be.
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
    attempts: int
    requests: int
    sent: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    picodollars: int
    unknown_usage: int
    unknown_usd: int
    over_tokens: int
    over_picodollars: int
    work_seconds: float
    retry_seconds: float
    path_seconds: float
    end_round: int
    key: CallKey
    error: str | None
    notes: str

    @property
    def error_name(self) -> str:
        """Name of the error's class; empty where nothing went wrong."""
        return (self.error or "").partition(":")[0]

    @property
    def usd(self) -> float | None:
        """Known cost, or None when the cost of one of its requests is not known."""
        return None if self.unknown_usd else self.picodollars / PICODOLLARS

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values, in a fixed order; USD for picodollars."""
        document: dict[str, Any] = dict(zip(_NAMES, self, strict=True))
        document["usd"] = self.usd
        document["over_usd"] = self.over_picodollars / PICODOLLARS
        return document


_NAMES = tuple(name.replace("picodollars", "usd") for name in LedgerRow._fields)
"""What the fields are called in JSON."""
