"""Nodes and turns in the order of what they cost, and by how much two runs differ."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from callwise.calls.call import Outcome
from callwise.report.page.page_comparison import TurnPairing
from callwise.report.page.page_data import PageRun
from callwise.report.run_record import CallLine, TurnKey, TurnLine
from callwise.report.table import Cell, cell_text
from callwise.report.totals import UsageSums, grouped, node_name, sum_calls

__all__ = [
    "MEASURES",
    "Cost",
    "Measure",
    "TurnCost",
    "TurnDifference",
    "cost_of",
    "difference_words",
    "ranked_nodes",
    "ranked_turns",
    "shares",
    "turn_differences",
    "worst_troubled",
]


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of some calls, by the four measures of the page. None is not known, and never 0.

    Calls that a limit refused are none of `calls`: nothing was sent.
    """

    calls: int
    tokens: int
    seconds: float
    usd: float | None

    @property
    def order(self) -> tuple[float, float, float]:
        """Its rank: calls, then tokens, then seconds."""
        return self.calls, self.tokens, self.seconds


@dataclass(frozen=True, slots=True)
class Measure:
    """One of the measures.

    Args:
        name: its field in `Cost`.
        more: word for a greater amount of it.
        less: word for a smaller one.
    """

    name: str
    more: str = "more"
    less: str = "less"

    def of(self, cost: Cost) -> float | None:
        """Return its amount."""
        found: float | None = getattr(cost, self.name)
        return found


MEASURES = (
    Measure("calls", less="fewer"),
    Measure("tokens", less="fewer"),
    Measure("seconds"),
    Measure("usd"),
)


def cost_of(calls: Sequence[CallLine]) -> Cost:
    """Return the cost of some calls."""
    sums = sum_calls(calls)
    made = sums.asked - sums.outcomes[Outcome.REFUSED]
    return Cost(made, sums.usage.tokens, sums.usage.path_seconds, sums.usd)


def ranked_nodes(calls: Sequence[CallLine]) -> dict[str, Cost]:
    """Return the cost of each node, the one with most calls first. Names are untrusted."""
    costs = {name: cost_of(rows) for name, rows in grouped(calls, node_name).items()}
    return dict(sorted(costs.items(), key=lambda each: each[1].order, reverse=True))


def shares(costs: Mapping[str, Cost], measure: Measure) -> dict[str, float | None]:
    """Return each one's share of all of them, from 0 to 1; None where an amount is not known."""
    amounts = {name: measure.of(cost) for name, cost in costs.items()}
    known = [amount for amount in amounts.values() if amount is not None]
    total = math.fsum(known) if len(known) == len(amounts) else 0.0
    return {
        name: amount / total if amount is not None and total else None
        for name, amount in amounts.items()
    }


@dataclass(frozen=True, slots=True)
class TurnCost:
    """The cost of one turn, and what went wrong in it.

    Args:
        troubles: count and name of each kind of trouble, e.g. `(2, "refused")`.
    """

    turn: TurnLine
    cost: Cost
    troubles: tuple[tuple[int, str], ...]

    @property
    def trouble_count(self) -> int:
        """Number of things that went wrong."""
        return sum(count for count, _ in self.troubles)

    @property
    def trouble_words(self) -> str:
        """Its troubles for people; empty for none."""
        return ", ".join(f"{count:,} {name}" for count, name in self.troubles)


_TROUBLES: Sequence[tuple[str, Callable[[UsageSums], int]]] = (
    ("failed", lambda sums: sums.outcomes[Outcome.FAILED]),
    ("refused", lambda sums: sums.outcomes[Outcome.REFUSED]),
    ("cancelled", lambda sums: sums.outcomes[Outcome.CANCELLED]),
    ("unreadable", lambda sums: sums.unreadable),
    ("asked again for their form", lambda sums: sums.repairs),
)


def _turn_cost(turn: TurnLine, calls: Sequence[CallLine]) -> TurnCost:
    sums = sum_calls(calls)
    counts = [(count_of(sums), name) for name, count_of in _TROUBLES]
    counts += [(len(turn.degraded), "degraded"), (len(turn.wound_down), "wound down")]
    return TurnCost(turn, cost_of(calls), tuple(each for each in counts if each[0]))


def ranked_turns(run: PageRun) -> list[TurnCost]:
    """Return the turns of a run, the one with most calls first, then most tokens and seconds."""
    turns = [_turn_cost(turn, run.calls[turn.key]) for turn in run.record.turns]
    return sorted(turns, key=lambda each: each.cost.order, reverse=True)


def worst_troubled(turns: Sequence[TurnCost]) -> TurnCost | None:
    """Return the first turn with most troubles; None where there is none."""
    worst = max(turns, key=lambda each: each.trouble_count, default=None)
    return worst if worst is not None and worst.trouble_count else None


def difference_words(mine: Cell, others: Cell, measure: Measure) -> str:
    """Return by how much an amount differs from another run's, with its direction."""
    if not isinstance(mine, int | float) or not isinstance(others, int | float):
        return "unknown"
    difference = mine - others
    if isinstance(difference, float):
        difference = round(difference, 6)
    if not difference:
        return "equal"
    return f"{cell_text(abs(difference))} {measure.more if difference > 0 else measure.less}"


@dataclass(frozen=True, slots=True)
class TurnDifference:
    """One turn of two runs, with its cost in both."""

    key: TurnKey
    mine: Cost
    others: Cost

    @property
    def size(self) -> tuple[float, float]:
        """Its rank: by how many calls the runs differ, then by how many tokens."""
        mine, others = self.mine, self.others
        return abs(mine.calls - others.calls), abs(mine.tokens - others.tokens)


def turn_differences(pairing: TurnPairing) -> list[TurnDifference]:
    """Return the paired turns, the ones that differ most first."""
    sides = pairing.run.calls, pairing.other.calls
    found = [TurnDifference(key, *(cost_of(side[key]) for side in sides)) for key in pairing.keys]
    return sorted(found, key=lambda each: each.size, reverse=True)
