"""Counters of the calls of one scope, or of one part of them, and their statistics.

The identity, in every scope and at every moment:
`asked = served + cached + coalesced + replayed + refused + failed + cancelled + in flight`.
Asking, ending and being in flight are counted apart, so that the check is one.
"""
# ruff: noqa: SLF001 - an object reads the private parts of others of its own class

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import add, attrgetter
from types import MappingProxyType
from typing import Any

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import LeaseStatistics
from callwise.budget.usage import NO_USAGE, Usage
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.errors import CallwiseError

__all__ = ["CounterValues", "Counters", "LedgerError", "ScopeStatistics"]


class LedgerError(CallwiseError):
    """The counters do not add up. Always a bug, never a matter of luck or load."""


@dataclass(frozen=True, slots=True)
class CounterValues:
    """The counters of a scope at one moment.

    Args:
        asked: calls wanted.
        in_flight: those that have not ended yet.
        outcomes: how the others ended; every outcome is a key.
        usage: what they spent.
        over_calls: calls that were charged beyond what was reserved for them.
        speculative: asked calls that were speculative.
        repairs: asked calls that were repairs of an answer that did not fit.
        unreadable: answered calls whose answer is not in the form that was asked for.
    """

    asked: int
    in_flight: int
    outcomes: Mapping[Outcome, int]
    usage: Usage
    over_calls: int
    speculative: int
    repairs: int
    unreadable: int

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values, the usage by flat names."""
        usage = {name: v for name, v in self.usage.to_json().items() if name not in _NOT_IN_COUNTS}
        seconds = {name: usage.pop(name) for name in ("work_seconds", "retry_seconds")}
        over = {name: usage.pop(name) for name in ("over_tokens", "over_usd")}
        return {
            "asked": self.asked,
            "in_flight": self.in_flight,
            "outcomes": {outcome.value: n for outcome, n in self.outcomes.items()},
            **usage,
            "over_calls": self.over_calls,
            **over,
            "speculative": self.speculative,
            "repairs": self.repairs,
            "unreadable": self.unreadable,
            **seconds,
        }


_NOT_IN_COUNTS = {"sent", "charged_tokens", "charged_usd"}
"""Fields of the usage that are left out of the JSON of counts."""

for _name in (*Usage._fields, "tokens", "usd", "over_usd", "work_seconds", "retry_seconds"):
    setattr(CounterValues, _name, property(attrgetter(f"usage.{_name}")))

_NO_OUTCOMES: Mapping[Outcome, int] = MappingProxyType(dict.fromkeys(Outcome, 0))


Part = tuple[str | None, Role, Purpose]
"""The node that asked, the role it asked, and what for."""


class Counters:
    """Counts that grow as calls are asked and end.

    Args:
        is_by_part: also count ended calls by node, role and purpose; their sum is the total.
    """

    __slots__ = (
        "_asked",
        "_in_flight",
        "_outcomes",
        "_over_calls",
        "_parts",
        "_repairs",
        "_speculative",
        "_unreadable",
        "_usage",
    )

    def __init__(self, *, is_by_part: bool = False) -> None:
        self._asked = self._in_flight = self._over_calls = 0
        self._speculative = self._repairs = self._unreadable = 0
        self._usage: list[int] = list(NO_USAGE)
        self._outcomes = dict(_NO_OUTCOMES)
        self._parts: dict[Part, Counters] | None = {} if is_by_part else None

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
        counted = self
        if self._parts is not None:
            part = (row.node, row.role, row.purpose)
            counted = self._parts.get(part) or self._parts.setdefault(part, Counters())
            counted._asked += 1
        counted._outcomes[row.outcome] += 1
        if row.is_speculative:
            counted._speculative += 1
        if row.repair:
            counted._repairs += 1
        if row.is_unreadable:
            counted._unreadable += 1
        usage = row.usage
        if usage is not NO_USAGE:
            counted._usage = list(map(add, counted._usage, usage))
            if usage.over_tokens or usage.over_picodollars:
                counted._over_calls += 1

    def check(self, scope: str) -> None:
        """Check the identity.

        Raises:
            LedgerError: when the outcomes and what is in flight are not what was asked.
        """
        outcomes = self._total()._outcomes
        ended = sum(outcomes.values())
        if self._asked != ended + self._in_flight or self._in_flight < 0:
            raise LedgerError(
                f"{scope}: asked {self._asked}, but {ended} ended and {self._in_flight} are "
                f"in flight ({', '.join(f'{k} {n}' for k, n in outcomes.items() if n)})"
            )

    def counts(self) -> CounterValues:
        """Return the counts at this moment."""
        total = self._total()
        return CounterValues(
            asked=self._asked,
            in_flight=self._in_flight,
            outcomes=dict(total._outcomes),
            usage=Usage(*total._usage),
            over_calls=total._over_calls,
            speculative=total._speculative,
            repairs=total._repairs,
            unreadable=total._unreadable,
        )

    def by_node(self) -> dict[str, CounterValues]:
        """Return the ended calls by node; those asked outside of one under `-`."""
        return self._by(lambda part: part[0] or "-")

    def by_role(self) -> dict[str, CounterValues]:
        """Return the ended calls by role."""
        return self._by(lambda part: part[1].value)

    def by_purpose(self) -> dict[str, CounterValues]:
        """Return the ended calls by purpose."""
        return self._by(lambda part: part[2].value)

    def _by(self, name: Callable[[Part], str]) -> dict[str, CounterValues]:
        merged: dict[str, Counters] = {}
        for part, counters in (self._parts or {}).items():
            merged.setdefault(name(part), Counters())._include(counters)
        return {key: merged[key].counts() for key in sorted(merged)}

    def _total(self) -> "Counters":
        if self._parts is None:
            return self
        total = Counters()
        for part in self._parts.values():
            total._include(part)
        return total

    def _include(self, other: "Counters") -> None:
        self._asked += other._asked
        self._over_calls += other._over_calls
        self._speculative += other._speculative
        self._repairs += other._repairs
        self._unreadable += other._unreadable
        self._usage = list(map(add, self._usage, other._usage))
        for outcome, count in other._outcomes.items():
            self._outcomes[outcome] += count


@dataclass(frozen=True, slots=True)
class ScopeStatistics:
    """Counts, path and leases of a scope.

    Args:
        path: its path.
        is_closed: whether it has been closed.
        counts: its calls, those of the scopes below it included.
        by_node: the ended ones by node; empty below a turn.
        by_role: the same by role.
        by_purpose: the same by purpose.
        rounds: the longest chain of calls that had to wait for each other.
        path_seconds: the time that chain took, or would have taken.
        leases: what is still held back.
    """

    path: str
    is_closed: bool
    counts: CounterValues
    by_node: dict[str, CounterValues]
    by_role: dict[str, CounterValues]
    by_purpose: dict[str, CounterValues]
    rounds: int
    path_seconds: float
    leases: tuple[LeaseStatistics, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        parts = {
            name: {part: counts.as_dict() for part, counts in getattr(self, name).items()}
            for name in ("by_node", "by_role", "by_purpose")
        }
        leases = [
            {"name": lease.name, "calls": lease.calls, "tokens": lease.tokens, "usd": lease.usd}
            for lease in self.leases
        ]
        return {
            "path": self.path,
            "is_closed": self.is_closed,
            **self.counts.as_dict(),
            **parts,
            "rounds": self.rounds,
            "path_seconds": self.path_seconds,
            "leases": leases,
        }
