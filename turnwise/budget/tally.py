"""Counts of the calls of one scope, or of one part of them.

The identity, in every scope and at every moment:
`asked = served + cached + coalesced + replayed + refused + failed + cancelled + in flight`.
Asking, ending and being in flight are counted apart, so that the check is one.
"""
# ruff: noqa: SLF001 - an object reads the private parts of others of its own class

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.room import PICODOLLARS
from turnwise.calls.errors import TurnwiseError
from turnwise.calls.vocabulary import Outcome

__all__ = ["Counts", "LedgerError", "Tally"]


class LedgerError(TurnwiseError):
    """The books do not add up. Always a bug, never a matter of luck or load."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a tally says at one moment.

    Args:
        asked: calls wanted.
        in_flight: those that have not ended yet.
        outcomes: how the others ended; every outcome is a key.
        attempts: tries at serving them, retries included.
        requests: HTTP requests that left the machine, or in a replay, had left it.
        input_tokens: known prompt tokens.
        output_tokens: known answer tokens.
        cached_tokens: known prompt tokens found in the provider's prompt cache.
        usd: known cost. Not the whole cost when `unknown_usd` is above 0.
        unknown_usage: requests whose tokens are not known.
        unknown_usd: requests whose cost is not known.
        over_calls: calls that were billed beyond what was reserved for them.
        over_tokens: tokens beyond it.
        over_usd: USD beyond it.
        speculative: asked calls that were speculative.
        repairs: asked calls that were repairs of an answer that did not fit.
        unreadable: answered calls whose answer is not in the form that was asked for.
        work_seconds: sum of all attempts' time.
        retry_seconds: sum of waits between attempts.
    """

    asked: int
    in_flight: int
    outcomes: Mapping[Outcome, int]
    attempts: int
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    usd: float
    unknown_usage: int
    unknown_usd: int
    over_calls: int
    over_tokens: int
    over_usd: float
    speculative: int
    repairs: int
    unreadable: int
    work_seconds: float
    retry_seconds: float

    @property
    def tokens(self) -> int:
        """Known input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        document: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        document["outcomes"] = {outcome.value: n for outcome, n in self.outcomes.items()}
        return document


_NO_OUTCOMES: Mapping[Outcome, int] = MappingProxyType(dict.fromkeys(Outcome, 0))


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


class Tally:
    """Counts that grow as calls are asked and end."""

    __slots__ = (
        "_asked",
        "_attempts",
        "_cached_tokens",
        "_in_flight",
        "_input_tokens",
        "_outcomes",
        "_output_tokens",
        "_over_calls",
        "_over_picodollars",
        "_over_tokens",
        "_picodollars",
        "_repairs",
        "_requests",
        "_retry_microseconds",
        "_speculative",
        "_unknown_usage",
        "_unknown_usd",
        "_unreadable",
        "_work_microseconds",
    )

    def __init__(self) -> None:
        self._asked = self._in_flight = self._attempts = self._requests = 0
        self._input_tokens = self._output_tokens = self._cached_tokens = 0
        self._picodollars = self._unknown_usage = self._unknown_usd = 0
        self._over_calls = self._over_tokens = self._over_picodollars = 0
        self._speculative = self._repairs = self._unreadable = 0
        # Integers: the sum is the same in whatever order the calls end.
        self._work_microseconds = self._retry_microseconds = 0
        self._outcomes = dict(_NO_OUTCOMES)

    @property
    def in_flight(self) -> int:
        """Calls that were asked and have not ended."""
        return self._in_flight

    def begin(self) -> None:
        """Count one call that was asked."""
        self._asked += 1
        self._in_flight += 1

    def end(self, row: LedgerRow) -> None:
        """Count how one call ended."""
        self._in_flight -= 1
        self._outcomes[row.outcome] += 1
        if row.is_speculative:
            self._speculative += 1
        if row.repair:
            self._repairs += 1
        if row.is_unreadable:
            self._unreadable += 1
        if row.attempts:
            self._attempts += row.attempts
            self._requests += row.requests
            self._input_tokens += row.input_tokens
            self._output_tokens += row.output_tokens
            self._cached_tokens += row.cached_tokens
            self._picodollars += row.picodollars
            self._work_microseconds += _microseconds(row.work_seconds)
            if row.unknown_usd or row.unknown_usage:
                self._unknown_usage += row.unknown_usage
                self._unknown_usd += row.unknown_usd
            if row.over_tokens or row.over_picodollars:
                self._over_calls += 1
                self._over_tokens += row.over_tokens
                self._over_picodollars += row.over_picodollars
            if row.retry_seconds:
                self._retry_microseconds += _microseconds(row.retry_seconds)

    def include(self, other: "Tally") -> None:
        """Count everything that another tally has counted so far."""
        for name in Tally.__slots__:
            if name != "_outcomes":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        for outcome, count in other._outcomes.items():
            self._outcomes[outcome] += count

    def check(self, scope: str) -> None:
        """Hold the identity.

        Raises:
            LedgerError: when the outcomes and what is in flight are not what was asked.
        """
        ended = sum(self._outcomes.values())
        if self._asked != ended + self._in_flight or self._in_flight < 0:
            raise LedgerError(
                f"{scope}: asked {self._asked}, but {ended} ended and {self._in_flight} are "
                f"in flight ({', '.join(f'{k} {n}' for k, n in self._outcomes.items() if n)})"
            )

    def counts(self) -> Counts:
        """Return the counts at this moment."""
        return Counts(
            asked=self._asked,
            in_flight=self._in_flight,
            outcomes=dict(self._outcomes),
            attempts=self._attempts,
            requests=self._requests,
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            cached_tokens=self._cached_tokens,
            usd=self._picodollars / PICODOLLARS,
            unknown_usage=self._unknown_usage,
            unknown_usd=self._unknown_usd,
            over_calls=self._over_calls,
            over_tokens=self._over_tokens,
            over_usd=self._over_picodollars / PICODOLLARS,
            speculative=self._speculative,
            repairs=self._repairs,
            unreadable=self._unreadable,
            work_seconds=self._work_microseconds / 1e6,
            retry_seconds=self._retry_microseconds / 1e6,
        )
