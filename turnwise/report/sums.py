"""Sums and spreads of calls. What is not known is never added up as if it were 0."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from turnwise.calls.vocabulary import Outcome
from turnwise.report.lines import CallLine

__all__ = ["CallSums", "Spread", "spread", "sum_calls"]


@dataclass(frozen=True, slots=True)
class CallSums:
    """What some calls come to.

    Invariant: `asked` is the sum of the outcomes.

    Args:
        asked: how many calls.
        outcomes: how they ended; every outcome is a key.
        attempts: tries at serving them.
        requests: HTTP requests that left the machine; in a replay, of the recording.
        sent: those of them that left in this run; 0 in a strict replay.
        input_tokens: known prompt tokens.
        output_tokens: known answer tokens.
        cached_tokens: known prompt tokens from the provider's prompt cache.
        unknown_usage: requests whose tokens are not known.
        usd: the whole cost, or None when a part of it is not known.
        usd_known: the part that is known.
        over_calls: calls that were billed beyond what was reserved for them.
        over_tokens: tokens beyond it.
        over_usd: USD beyond it.
        speculative: calls asked before they were known to be needed.
        unreadable: answered calls whose answer is not in the form that was asked for.
        repairs: calls that asked again for an answer that did not fit.
        work_seconds: sum of all attempts' time.
        retry_seconds: sum of waits between attempts.
    """

    asked: int
    outcomes: dict[Outcome, int]
    attempts: int
    requests: int
    sent: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    unknown_usage: int
    usd: float | None
    usd_known: float
    over_calls: int
    over_tokens: int
    over_usd: float
    speculative: int
    unreadable: int
    repairs: int
    work_seconds: float
    retry_seconds: float

    @property
    def total_seconds(self) -> float:
        """All time that the calls took, waits included, as if one after another."""
        return self.work_seconds + self.retry_seconds


def _sent(row: CallLine) -> int:
    if row.sent is not None:
        return row.sent
    return 0 if row.outcome is Outcome.REPLAYED else row.requests


def sum_calls(rows: Sequence[CallLine]) -> CallSums:
    """Return what some calls come to."""
    ended = Counter(row.outcome for row in rows)
    known_usd = [row.usd for row in rows if row.usd is not None]
    usd_known = math.fsum(known_usd)
    return CallSums(
        asked=len(rows),
        outcomes={outcome: ended[outcome] for outcome in Outcome},
        attempts=sum(row.attempts for row in rows),
        requests=sum(row.requests for row in rows),
        sent=sum(map(_sent, rows)),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        unknown_usage=sum(row.unknown_usage for row in rows),
        usd=usd_known if len(known_usd) == len(rows) else None,
        usd_known=usd_known,
        over_calls=sum(row.over_tokens > 0 or row.over_usd > 0 for row in rows),
        over_tokens=sum(row.over_tokens for row in rows),
        over_usd=math.fsum(row.over_usd for row in rows),
        speculative=sum(row.is_speculative for row in rows),
        unreadable=sum(row.is_unreadable for row in rows),
        repairs=sum(row.repair > 0 for row in rows),
        work_seconds=math.fsum(row.work_seconds for row in rows),
        retry_seconds=math.fsum(row.retry_seconds for row in rows),
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
