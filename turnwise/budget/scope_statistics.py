"""What a scope says about itself, as a frozen record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from turnwise.budget.lease import LeaseStatistics
from turnwise.budget.ledger_row import LedgerRow
from turnwise.budget.tally import Counts, Tally
from turnwise.calls.call import Purpose, Role

__all__ = ["Breakdown", "ScopeStatistics"]

Part = tuple[str | None, Role, Purpose]


class Breakdown:
    """A tally for each node, role and purpose that asked."""

    __slots__ = ("_tallies",)

    def __init__(self) -> None:
        self._tallies: dict[Part, Tally] = {}

    def end(self, row: LedgerRow) -> None:
        """Count one call under who asked, whom, and what for."""
        part = (row.node, row.role, row.purpose)
        tally = self._tallies.get(part)
        if tally is None:
            tally = self._tallies[part] = Tally()
        tally.begin()
        tally.end(row)

    def by_node(self) -> dict[str, Counts]:
        """Return the ended calls by node; those asked outside of one under `-`."""
        return self._by(lambda part: part[0] or "-")

    def by_role(self) -> dict[str, Counts]:
        """Return the ended calls by role."""
        return self._by(lambda part: part[1].value)

    def by_purpose(self) -> dict[str, Counts]:
        """Return the ended calls by purpose."""
        return self._by(lambda part: part[2].value)

    def _by(self, name: Callable[[Part], str]) -> dict[str, Counts]:
        merged: dict[str, Tally] = {}
        for part, tally in self._tallies.items():
            merged.setdefault(name(part), Tally()).include(tally)
        return {key: merged[key].counts() for key in sorted(merged)}


@dataclass(frozen=True, slots=True)
class ScopeStatistics:
    """Where a scope stands.

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
    counts: Counts
    by_node: dict[str, Counts]
    by_role: dict[str, Counts]
    by_purpose: dict[str, Counts]
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
