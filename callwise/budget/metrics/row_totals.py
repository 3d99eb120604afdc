"""Sums over ledger rows that metrics need, by closed sets of labels.

Invariant: the number of sums is limited whatever the rows name. A role, purpose, outcome, endpoint
or class of error that is not in its set is counted as `other`, and a name is never kept.
"""

import inspect
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.metrics.names import BUCKETS_SECONDS, MAX_ENDPOINTS, OTHER
from callwise.budget.usage import NO_USAGE
from callwise.calls import errors
from callwise.calls.call import Outcome, Purpose, Role
from callwise.calls.delivery import DIRECT

__all__ = ["ERROR_LABELS", "CallSums", "Histogram", "Part", "RowTotals"]

ERROR_LABELS = frozenset(
    name
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, errors.CallwiseError)
) | {"CancelledError", "TimeoutError"}
"""Classes of errors that have a label."""

_ROLES = frozenset(map(str, Role))
_PURPOSES = frozenset(map(str, Purpose))
_OUTCOMES = frozenset(map(str, Outcome))


class Part(NamedTuple):
    """The labels by which rows are summed."""

    role: str
    purpose: str
    outcome: str
    endpoint: str


@dataclass(slots=True)
class Histogram:
    """Counts of durations by bucket, the last without an upper limit, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_SECONDS) + 1))
    microseconds: int = 0

    def add(self, microseconds: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_SECONDS, microseconds / 1e6)] += 1
        self.microseconds += microseconds

    def plus(self, other: "Histogram", sign: int = 1) -> "Histogram":
        """Return the sum of two; the difference where `sign` is -1."""
        counts = [a + sign * b for a, b in zip(self.counts, other.counts, strict=True)]
        return Histogram(counts, self.microseconds + sign * other.microseconds)

    @property
    def count(self) -> int:
        """Durations counted."""
        return sum(self.counts)

    def percentile(self, share: float) -> float | None:
        """Return the duration in seconds below which a share lies, interpolated in its bucket.

        None without durations. Beyond the last limit it is that limit, as in Prometheus.
        """
        rank, below = share * self.count, 0
        if not self.count:
            return None
        for index, limit in enumerate(BUCKETS_SECONDS):
            count = self.counts[index]
            if count and below + count >= rank:
                start = BUCKETS_SECONDS[index - 1] if index else 0.0
                return start + (limit - start) * (rank - below) / count
            below += count
        return BUCKETS_SECONDS[-1]


class CallSums:
    """Sums over the calls of one part."""

    __slots__ = (
        "cached_tokens",
        "calls",
        "durations",
        "input_tokens",
        "microseconds",
        "output_tokens",
        "picodollars",
        "requests",
        "wait_microseconds",
        "work_microseconds",
    )

    def __init__(self) -> None:
        self.calls = self.requests = self.picodollars = 0
        self.input_tokens = self.output_tokens = self.cached_tokens = 0
        self.work_microseconds = self.wait_microseconds = self.microseconds = 0
        self.durations = [0] * (len(BUCKETS_SECONDS) + 1)

    def copied(self) -> "CallSums":
        """Return a copy."""
        copy = CallSums()
        for name in self.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.durations = list(self.durations)
        return copy

    @property
    def histogram(self) -> Histogram:
        """The durations of its calls."""
        return Histogram(list(self.durations), self.microseconds)


@dataclass(slots=True)
class RowSums:
    """The sums at one moment, as a copy.

    Args:
        errors: rows with an error by its class.
        routed: rows that a policy or a failover routed.
        misrouted: those of them with a routing error; see `docs/observing.md`.
        last_errors: class and endpoint of the latest errors, the newest last; each a label.
    """

    parts: dict[Part, CallSums]
    errors: Counter[str]
    unknown_tokens: int
    unknown_usd: int
    queue_waits: Histogram
    batch_waits: Histogram
    routed: int
    misrouted: int
    last_errors: tuple[tuple[str, str, str], ...]

    def calls(self, *outcomes: Outcome) -> int:
        """Return the ended calls of some outcomes, of any without one."""
        return sum(
            sums.calls
            for part, sums in self.parts.items()
            if not outcomes or part.outcome in outcomes
        )

    def of(self, name: str) -> int:
        """Return the sum of one field over all parts."""
        return sum(getattr(sums, name) for sums in self.parts.values())


KEPT_ERRORS = 8
"""Latest errors that are shown."""


class RowTotals:
    """Adds up rows as they are written; a sink of the ledger.

    Args:
        endpoints: returns the names of the configured endpoints.
    """

    def __init__(self, endpoints: Callable[[], Iterable[str]]) -> None:
        self._endpoints = endpoints
        self._parts: dict[tuple[str, str, str, str], CallSums] = {}
        self._known: frozenset[str] = frozenset()
        self._errors: Counter[str] = Counter()
        self._unknown_tokens = self._unknown_usd = 0
        self._queue_waits, self._batch_waits = Histogram(), Histogram()
        self._routed = self._misrouted = 0
        self._last_errors: list[tuple[str, str, str]] = []

    def add(self, row: LedgerRow) -> None:
        """Count one row."""
        delivery, usage = row.delivery, row.usage
        is_direct = delivery is DIRECT
        endpoint = row.endpoint if is_direct else delivery.endpoint or row.endpoint
        sums = self._parts.get((row.role, row.purpose, row.outcome, endpoint))
        if sums is None:
            sums = self._sums(self._part(row, endpoint))
        seconds = row.path_seconds
        sums.calls += 1
        sums.durations[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        sums.microseconds += int(seconds * 1e6)
        if usage is not NO_USAGE:
            sums.requests += usage.requests
            sums.input_tokens += usage.input_tokens
            sums.output_tokens += usage.output_tokens
            sums.cached_tokens += usage.cached_tokens
            sums.picodollars += usage.picodollars
            sums.work_microseconds += usage.work_microseconds
            waited = usage.queue_microseconds
            sums.wait_microseconds += waited + usage.retry_microseconds
            if waited:
                self._queue_waits.add(waited)
            if usage.unknown_usd or usage.unknown_usage:
                self._unknown_tokens += usage.unknown_usage
                self._unknown_usd += usage.unknown_usd
            if not is_direct and delivery.batch:
                self._batch_waits.add(waited)
        if row.error is not None:
            self._add_error(row, endpoint)
        if not is_direct or row.choice is not None:
            self._add_route(row)

    def _part(self, row: LedgerRow, endpoint: str) -> Part:
        return Part(
            row.role if row.role in _ROLES else OTHER,
            row.purpose if row.purpose in _PURPOSES else OTHER,
            row.outcome if row.outcome in _OUTCOMES else OTHER,
            self.endpoint_label(endpoint),
        )

    def _sums(self, part: Part) -> CallSums:
        found = self._parts.get(part)
        if found is None:
            found = self._parts[part] = CallSums()
        return found

    def endpoint_label(self, name: str) -> str:
        """Return the name of a configured endpoint, or `other`."""
        if name not in self._known and len(self._known) < MAX_ENDPOINTS:
            added = [each for each in self._endpoints() if each not in self._known]
            self._known |= frozenset(added[: MAX_ENDPOINTS - len(self._known)])
        return name if name in self._known else OTHER

    def _add_error(self, row: LedgerRow, endpoint: str) -> None:
        name = row.error_name
        label = name if name in ERROR_LABELS else OTHER
        self._errors[label] += 1
        purpose = row.purpose if row.purpose in _PURPOSES else OTHER
        self._last_errors.append((label, purpose, self.endpoint_label(endpoint)))
        if len(self._last_errors) > KEPT_ERRORS:
            del self._last_errors[0]

    def _add_route(self, row: LedgerRow) -> None:
        choice = row.choice
        if choice is None and not row.delivery.endpoint:
            return
        self._routed += 1
        is_passed_on = choice is not None and choice.policy == "cascade" and choice.step > 0
        is_bad = row.outcome == Outcome.FAILED or row.is_unreadable
        self._misrouted += is_bad or is_passed_on

    def totals(self) -> RowSums:
        """Return a copy of the sums."""
        return RowSums(
            {Part(*key): sums.copied() for key, sums in self._parts.items()},
            Counter(self._errors),
            self._unknown_tokens,
            self._unknown_usd,
            self._queue_waits.plus(Histogram()),
            self._batch_waits.plus(Histogram()),
            self._routed,
            self._misrouted,
            tuple(self._last_errors),
        )
