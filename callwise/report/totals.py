"""Sums and spreads of calls, and a run in figures.

What is not known is never added up as if it were 0.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from callwise.budget.usage import NO_USAGE, Usage
from callwise.calls.call import Outcome, Role
from callwise.calls.reply import seconds_name
from callwise.report.run_record import CallLine, TurnKey, TurnLine

__all__ = [
    "NameOf",
    "Spread",
    "Totals",
    "UsageSums",
    "grouped",
    "node_name",
    "purpose_name",
    "role_name",
    "seconds_name_of",
    "spread",
    "sum_calls",
    "total",
]

NameOf = Callable[[CallLine], str]
"""The name by which a call is grouped."""


def node_name(row: CallLine) -> str:
    """Return the node that asked; `-` outside of one."""
    return row.node or "-"


def role_name(row: CallLine) -> str:
    """Return the role that was asked."""
    return row.role.value


def purpose_name(row: CallLine) -> str:
    """Return the purpose of a call."""
    return row.purpose.value


def grouped(rows: Iterable[CallLine], name_of: NameOf) -> dict[str, list[CallLine]]:
    """Return calls by name, in the order in which names first occur."""
    groups: dict[str, list[CallLine]] = {}
    for row in rows:
        groups.setdefault(name_of(row), []).append(row)
    return groups


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Sums over some calls.

    Invariant: `asked` is the sum of the outcomes.

    Args:
        outcomes: calls by outcome; every outcome is a key.
        usd: the whole cost, or None when a part of it is not known.
        usd_known: the part that is known.
        over_calls: calls that were billed beyond their reservation.
        speculative: calls asked before they were known to be needed.
        unreadable: answered calls whose answer is not in the form that was asked for.
        repairs: calls that asked again for an answer that did not fit.
    """

    asked: int
    outcomes: dict[Outcome, int]
    usage: Usage
    usd: float | None
    usd_known: float
    over_calls: int
    speculative: int
    unreadable: int
    repairs: int

    def figure(self, name: str) -> float | None:
        """Return one figure by its name, of these sums or of their usage; None when not known."""
        found: float | None = getattr(self if hasattr(self, name) else self.usage, name)
        return found


def sum_calls(rows: Sequence[CallLine]) -> UsageSums:
    """Return the sums over some calls."""
    ended = Counter(row.outcome for row in rows)
    usages = [row.usage for row in rows]
    known_usd = [row.usd for row in rows if row.usd is not None]
    usd_known = math.fsum(known_usd)
    return UsageSums(
        asked=len(rows),
        outcomes={outcome: ended[outcome] for outcome in Outcome},
        usage=sum(usages, start=NO_USAGE),
        usd=usd_known if len(known_usd) == len(rows) else None,
        usd_known=usd_known,
        over_calls=sum(bool(each.over_tokens or each.over_picodollars) for each in usages),
        speculative=sum(row.is_speculative for row in rows),
        unreadable=sum(row.is_unreadable for row in rows),
        repairs=sum(row.repair > 0 for row in rows),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Distribution of some values: the median and the 95th percentile are values of it."""

    mean: float
    p50: float
    p95: float
    max: float

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON; whole numbers without a point, but in the mean."""
        values = {"p50": self.p50, "p95": self.p95, "max": self.max}
        plain = {
            name: int(value) if float(value).is_integer() else round(value, 6)
            for name, value in values.items()
        }
        return {"mean": round(self.mean, 6), **plain}


def spread(values: Sequence[float]) -> Spread | None:
    """Return the distribution of values, by nearest rank; None when there are none."""
    if not values:
        return None
    ordered = sorted(values)

    def at(percent: int) -> float:
        return ordered[-(-percent * len(ordered) // 100) - 1]  # rounded up, without floats

    return Spread(math.fsum(ordered) / len(ordered), at(50), at(95), ordered[-1])


@dataclass(frozen=True, slots=True)
class Totals:
    """A run in figures.

    Args:
        turns: finished turns.
        degraded_turns: those in which a node continued without its call.
        degraded_causes: degraded turns by cause, the most frequent first; a turn may have
            several causes.
        unreadable_turns: those with an answer that is not in the form that was asked for.
        cut_turns: those in which a limit refused a call.
        wound_down_turns: those that gave something up for want of calls.
        by_node: asked calls by node, in the order in which nodes first asked.
        by_purpose: likewise.
        calls_per_turn: refused calls are left out; None without turns.
        refused_per_turn: calls that a limit refused.
        rounds_to_reply: None where not recorded.
        reply_seconds: of the longest chain of calls until the reply.
        turn_seconds: of the longest chain of calls until the end of the turn.
        wall_seconds: time that the process took; None when not known.
        is_simulated: whether a simulated model answered any of it.
        seconds_name: the name of its calls' seconds for people.
    """

    turns: int
    replies: int
    degraded_turns: int
    degraded_causes: dict[str, int]
    unreadable_turns: int
    cut_turns: int
    wound_down_turns: int
    sums: UsageSums
    by_node: dict[str, int]
    by_role: dict[Role, int]
    by_purpose: dict[str, int]
    calls_per_turn: Spread | None
    refused_per_turn: Spread | None
    rounds_to_reply: Spread | None
    rounds_per_turn: Spread | None
    reply_seconds: Spread | None
    turn_seconds: Spread | None
    wall_seconds: float | None
    is_simulated: bool
    seconds_name: str = "seconds"


def seconds_name_of(rows: Iterable[CallLine]) -> str:
    """Return the name of these calls' seconds for people."""
    return seconds_name(row.is_virtual for row in rows if row.usage.path_seconds)


def _known_spread(values: Iterable[float | None]) -> Spread | None:
    return spread([value for value in values if value is not None])


def total(
    rows: Sequence[CallLine], turns: Sequence[TurnLine], *, wall_seconds: float | None = None
) -> Totals:
    """Return a run in figures, from its calls and its finished turns."""
    is_refused = {True: Counter[TurnKey | None](), False: Counter[TurnKey | None]()}
    for row in rows:
        is_refused[row.is_refused][row.turn_key] += 1
    refused_of, made_of = is_refused[True], is_refused[False]
    role_counts = Counter(row.role for row in rows)
    causes = Counter(cause for turn in turns for cause in turn.degraded_causes)
    unreadable = {row.turn_key for row in rows if row.is_unreadable}
    return Totals(
        turns=len(turns),
        replies=sum(bool(turn.reply.strip()) for turn in turns),
        degraded_turns=sum(bool(turn.degraded) for turn in turns),
        degraded_causes=dict(causes.most_common()),
        unreadable_turns=sum(turn.key in unreadable for turn in turns),
        cut_turns=sum(refused_of[turn.key] > 0 for turn in turns),
        wound_down_turns=sum(bool(turn.wound_down) for turn in turns),
        sums=sum_calls(rows),
        by_node=dict(Counter(map(node_name, rows))),
        by_role={role: role_counts[role] for role in Role if role_counts[role]},
        by_purpose=dict(Counter(map(purpose_name, rows))),
        calls_per_turn=spread([made_of[turn.key] for turn in turns]),
        refused_per_turn=spread([refused_of[turn.key] for turn in turns]),
        rounds_to_reply=_known_spread(turn.spans[0] for turn in turns),
        rounds_per_turn=_known_spread(turn.spans[1] for turn in turns),
        reply_seconds=_known_spread(turn.spans[2] for turn in turns),
        turn_seconds=_known_spread(turn.spans[3] for turn in turns),
        wall_seconds=wall_seconds,
        is_simulated=any(turn.simulated for turn in turns),
        seconds_name=seconds_name_of(rows),
    )
