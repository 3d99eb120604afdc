"""Sums and spreads of calls. What is not known is never added up as if it were 0."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from turnwise.budget.usage import NO_USAGE, Usage
from turnwise.calls.call import Outcome
from turnwise.report.lines import CallLine

__all__ = ["CallSums", "Spread", "spread", "sum_calls"]


@dataclass(frozen=True, slots=True)
class CallSums:
    """What some calls come to.

    Invariant: `asked` is the sum of the outcomes.

    Args:
        asked: how many calls.
        outcomes: how they ended; every outcome is a key.
        usage: what they spent.
        usd: the whole cost, or None when a part of it is not known.
        usd_known: the part that is known.
        over_calls: calls that were billed beyond what was reserved for them.
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

    @property
    def total_seconds(self) -> float:
        """All time that the calls took, waits included, as if one after another."""
        return self.usage.path_seconds


def sum_calls(rows: Sequence[CallLine]) -> CallSums:
    """Return what some calls come to."""
    ended = Counter(row.outcome for row in rows)
    known_usd = [row.usd for row in rows if row.usd is not None]
    usd_known = math.fsum(known_usd)
    return CallSums(
        asked=len(rows),
        outcomes={outcome: ended[outcome] for outcome in Outcome},
        usage=sum((row.usage for row in rows), start=NO_USAGE),
        usd=usd_known if len(known_usd) == len(rows) else None,
        usd_known=usd_known,
        over_calls=sum(row.over_tokens > 0 or row.over_usd > 0 for row in rows),
        speculative=sum(row.is_speculative for row in rows),
        unreadable=sum(row.is_unreadable for row in rows),
        repairs=sum(row.repair > 0 for row in rows),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """How some values spread.

    Args:
        mean: their mean.
        p50: their median, one of the values.
        p95: the least value that at least 95 % of them do not exceed.
        max: the largest.
    """

    mean: float
    p50: float
    p95: float
    max: float

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON; whole numbers without a point."""
        return {
            "mean": round(self.mean, 6),
            "p50": _plain(self.p50),
            "p95": _plain(self.p95),
            "max": _plain(self.max),
        }


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else round(value, 6)


def spread(values: Sequence[float]) -> Spread | None:
    """Return how values spread, by nearest rank; None when there are none."""
    if not values:
        return None
    ordered = sorted(values)

    def at(percent: int) -> float:
        return ordered[-(-percent * len(ordered) // 100) - 1]  # rounded up, without floats

    return Spread(math.fsum(ordered) / len(ordered), at(50), at(95), ordered[-1])
