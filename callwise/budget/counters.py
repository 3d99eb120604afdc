"""Counters of the calls of one scope, or of one part of them, and their statistics.

The identity, in every scope and at every moment:
`asked = served + cached + coalesced + replayed + refused + failed + cancelled + in_flight`.
The three are counted apart, so that the check can fail.
"""
# ruff: noqa: SLF001 - an object reads private parts of others of its class

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import Any

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.limits import LeaseStatistics
from callwise.budget.usage import JSON_NAMES, Usage
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.errors import CallwiseError
from callwise.safe_text import printable
from callwise.text_layout import aligned, html_table

__all__ = ["CounterValues", "Counters", "LedgerError", "ScopeStatistics"]


class LedgerError(CallwiseError):
    """The counters do not add up. Always a bug, never a matter of luck or load."""


@dataclass(frozen=True, slots=True)
class CounterValues:
    """The counters of a scope at one moment.

    Args:
        in_flight: asked calls that have not ended yet.
        outcomes: how the others ended; every outcome is a key.
        over_calls: calls that were charged beyond what was reserved for them.
        repairs: asked calls that were repairs of an answer that did not fit.
        unreadable: answered calls whose answer is not in the form that was asked for.
        simulated: ended calls to an endpoint at which a simulated model answers.
    """

    asked: int
    in_flight: int
    outcomes: Mapping[Outcome, int]
    usage: Usage
    over_calls: int
    speculative: int
    repairs: int
    unreadable: int
    simulated: int

    def __add__(self, other: "CounterValues") -> "CounterValues":
        """Return the counters of two scopes together."""
        names = [each.name for each in fields(self) if each.name != "outcomes"]
        outcomes = {each: self.outcomes[each] + other.outcomes[each] for each in self.outcomes}
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return CounterValues(outcomes=outcomes, **sums)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values, the usage by flat names."""
        usage = {name: v for name, v in self.usage.to_json().items() if name not in _NOT_IN_COUNTS}
        seconds = {name: usage.pop(name) for name in JSON_NAMES if name.endswith("seconds")}
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

for _name in (*Usage._fields, *JSON_NAMES, "tokens"):
    setattr(CounterValues, _name, property(attrgetter(f"usage.{_name}")))

Part = tuple[str | None, Role, Purpose]
"""The node that asked, the role it asked, and what for."""

MAX_PENDING = 256
"""Rows of a tree of scopes that are summed up together."""

_OWN_SUMS = 6
_NO_SUMS = (0,) * (_OWN_SUMS + len(Outcome) + len(Usage._fields))
_ONE_OUTCOME = {outcome: tuple(int(each is outcome) for each in Outcome) for outcome in Outcome}


def _numbers(row: LedgerRow) -> tuple[int, ...]:
    """Return what a row adds to the sums: itself, five flags, its outcome, its usage."""
    usage = row.usage
    is_over = bool(usage.over_tokens or usage.over_picodollars)
    flags = (row.is_speculative, row.repair > 0, row.is_unreadable, row.is_simulated)
    return (1, is_over, *flags, *_ONE_OUTCOME[row.outcome], *usage)


def _values(sums: Sequence[int], asked: int, in_flight: int) -> CounterValues:
    _, over_calls, speculative, repairs, unreadable, simulated, *others = sums
    return CounterValues(
        asked=asked,
        in_flight=in_flight,
        outcomes=dict(zip(Outcome, others, strict=False)),
        usage=Usage(*others[len(Outcome) :]),
        over_calls=over_calls,
        speculative=speculative,
        repairs=repairs,
        unreadable=unreadable,
        simulated=simulated,
    )


class Counters:
    """Counts of one scope that grow as calls are asked and end, in it and below it.

    Asked, running and ended calls are counted immediately, in the scope and all around it. Rows
    are collected, once for the whole tree, and summed up together before sums are read.

    Args:
        around: the counters of the scope around; None for the root.
        is_by_part: whether the sums are given by node, role and purpose too.
    """

    __slots__ = ("_asked", "_chain", "_ended", "_in_flight", "_is_by_part", "_pending", "_sums")

    def __init__(self, around: "Counters | None" = None, *, is_by_part: bool = False) -> None:
        self._asked = self._in_flight = self._ended = 0
        self._chain: tuple[Counters, ...] = (self, *around._chain) if around else (self,)
        self._pending: list[tuple[Counters, LedgerRow]] = around._pending if around else []
        self._sums: dict[Part, Sequence[int]] = {}
        self._is_by_part = is_by_part

    @property
    def asked(self) -> int:
        """Calls that were asked until now."""
        return self._asked

    def begin(self) -> None:
        """Count one call that was asked."""
        for counters in self._chain:
            counters._asked += 1
            counters._in_flight += 1

    def end(self, row: LedgerRow) -> None:
        """Count how one call ended."""
        for counters in self._chain:
            counters._in_flight -= 1
            counters._ended += 1
        self._pending.append((self, row))
        if len(self._pending) >= MAX_PENDING:
            self._sum_up()

    def check(self, scope: str) -> None:
        """Check the identity.

        Raises:
            LedgerError: when ended and running calls together are not the asked ones.
        """
        if self._asked != self._ended + self._in_flight or self._in_flight < 0:
            ended = ", ".join(f"{k} {n}" for k, n in self.counts().outcomes.items() if n)
            raise LedgerError(
                f"{scope}: asked {self._asked}, but {self._ended} ended and {self._in_flight} are "
                f"under way ({ended})"
            )

    def counts(self) -> CounterValues:
        """Return the counts at this moment."""
        self._sum_up()
        sums = tuple(map(sum, zip(_NO_SUMS, *self._sums.values(), strict=True)))
        return _values(sums, self._asked, self._in_flight)

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
        self._sum_up()
        merged: dict[str, list[int]] = {}
        for part, sums in self._sums.items() if self._is_by_part else ():
            merged[name(part)] = list(map(add, merged.get(name(part), _NO_SUMS), sums))
        return {key: _values(sums, sums[0], 0) for key, sums in sorted(merged.items())}

    def _sum_up(self) -> None:
        """Add the pending rows to the sums of their scopes and of those around."""
        groups: dict[tuple[Counters, Part], list[tuple[int, ...]]] = defaultdict(list)
        for counters, row in self._pending:
            part = (row.node, row.role, row.purpose)
            groups[counters, part].append(_numbers(row))
        self._pending.clear()
        for (innermost, part), numbers in groups.items():
            added = tuple(map(sum, zip(*numbers, strict=True)))
            for counters in innermost._chain:
                known = counters._sums.get(part)
                counters._sums[part] = tuple(map(add, known, added)) if known else added


def _known_tokens(usage: Usage) -> tuple[int | None, int | None]:
    is_none_known = usage.unknown_usage > 0 and not usage.tokens
    return (None, None) if is_none_known else (usage.input_tokens, usage.output_tokens)


def _known_usd(usage: Usage) -> float | None:
    """Return the known cost; None where requests of known tokens have none, or no cost is known."""
    is_counted = usage.unknown_usd <= usage.unknown_usage < max(usage.requests, 1)
    return usage.usd if is_counted or not usage.unknown_usd else None


def _shown(cell: str | float | None) -> str:
    """Return a cell for people."""
    if cell is None:
        return "unknown"
    if isinstance(cell, str):
        return printable(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.6f}"


@dataclass(frozen=True, slots=True, repr=False)
class ScopeStatistics:
    """Counts, path and leases of a scope.

    Args:
        counts: its calls, those of the scopes below it included.
        by_node: the ended ones by node, in a turn or a scope above it; empty below. By role and
            purpose likewise.
        rounds: the longest chain of calls that had to wait for each other.
        path_seconds: the time that chain took, or would have taken.
        charged: the columns of `table` with what limits in tokens or USD were charged.
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
    charged: tuple[str, ...] = ()

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated model answers any of its calls."""
        return self.counts.simulated > 0

    def table(self) -> tuple[tuple[str, ...], list[tuple[str | int | float | None, ...]]]:
        """Return the names of columns, and a row for each node and one for all calls.

        Outcomes that no call has are left out. Tokens and USD are those that are known, or None
        where none are; where the usage of requests is not known, a column counts them.
        """
        groups = {name or "-": counts for name, counts in self.by_node.items()}
        groups["all"] = self.counts
        ended = [name for name in Outcome if any(each.outcomes[name] for each in groups.values())]
        unknown = ("unknown_usage",) if self.counts.usage.unknown_usage else ()
        columns = ("node", "calls", *ended, "requests", "input_tokens", "output_tokens", *unknown)
        return (*columns, "usd", *self.charged), [
            (
                name,
                sum(counts.outcomes.values()),
                *(counts.outcomes[outcome] for outcome in ended),
                counts.usage.requests,
                *_known_tokens(counts.usage),
                *(getattr(counts.usage, name) for name in unknown),
                _known_usd(counts.usage),
                *(getattr(counts.usage, name) for name in self.charged),
            )
            for name, counts in groups.items()
        ]

    def _cells(self) -> list[list[str]]:
        columns, rows = self.table()
        cells = [[_shown(cell) for cell in row] for row in rows]
        return [[name.replace("_", " ") for name in columns], *cells]

    def __str__(self) -> str:
        """Return the calls by node as a small table."""
        cells = self._cells()
        lines = aligned(cells, numbers=range(1, len(cells[0])))
        return "\n".join([self._title(), *lines])

    def __repr__(self) -> str:
        """Return the sums in one line; `print` shows a table."""
        return f"ScopeStatistics({self._title()})"

    def _repr_html_(self) -> str:
        """Return the calls by node as a table, for a notebook."""
        return html_table(self._title(), self._cells())

    def _title(self) -> str:
        asked, running = self.counts.asked, self.counts.in_flight
        parts = [f"{asked:,} call{'' if asked == 1 else 's'}"]
        parts += [f"{running:,} of them running"] if running else []
        parts.append(f"{self.rounds:,} round{'' if self.rounds == 1 else 's'}")
        label = " (simulated)" if self.is_simulated else ""
        return f"{printable(self.path)}: {', '.join(parts)}{label}"

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        parts = {
            name: {part: counts.as_dict() for part, counts in getattr(self, name).items()}
            for name in ("by_node", "by_role", "by_purpose")
        }
        return {
            "path": self.path,
            "is_closed": self.is_closed,
            "is_simulated": self.is_simulated,
            **self.counts.as_dict(),
            **parts,
            "rounds": self.rounds,
            "path_seconds": self.path_seconds,
            "leases": [lease._asdict() for lease in self.leases],
        }
