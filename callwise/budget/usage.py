"""Usage: what calls have spent, as one record that is added, subtracted and written as JSON.

A counted quantity is one field of `Usage`. Ledger rows, recorded exchanges, counters of scopes
and sums of reports contain a `Usage`, and take names and values from it. A field in microseconds
or picodollars is read and written in seconds or USD too, as `work_seconds`. All fields are whole
numbers, so that sums are equal in whatever order calls end.

Charges of an attempt that was sent, known or not:

- The endpoint answered: by the usage of the answer; what of it is missing is unknown.
- The endpoint turned the request away (429, 401, 403, another 4xx, or a 503 while it
  loads its model): nothing, because no model ran.
- Anything else (5xx, a timeout, a cut stream, a cancellation): unknown.

Unknown is not 0: the limits are charged the whole estimate, and the row counts the request as
unknown. Of a stream that broke off, the part that arrived is counted by estimate, and its usage
is unknown.
"""

from collections.abc import Callable, Mapping
from operator import add, sub
from typing import TYPE_CHECKING, Any, NamedTuple

from callwise.calls.client import Prices
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BatchFailed,
    CallError,
    ContentRefused,
    ModelLoading,
    QuotaExhausted,
    RateLimited,
    UnknownModel,
)
from callwise.calls.reply import Reply, ReportedUsage

if TYPE_CHECKING:
    from callwise.budget.token_estimate import Estimate

__all__ = [
    "JSON_NAMES",
    "NO_USAGE",
    "PICODOLLARS",
    "Usage",
    "attempt_usage",
    "is_turned_away",
    "to_microseconds",
    "to_picodollars",
]

PICODOLLARS = 10**12
"""Picodollars in a dollar. One token at 0.01 USD a million costs 10,000 of them."""

MICROSECONDS = 10**6
"""Microseconds in a second."""


def to_picodollars(usd: float) -> int:
    """Return a price in picodollars, rounded to the nearest."""
    return round(usd * PICODOLLARS)


def to_microseconds(seconds: float) -> int:
    """Return a duration in microseconds, rounded to the nearest."""
    return round(seconds * MICROSECONDS)


class Usage(NamedTuple):
    """Spending of one call, or of several together.

    Args:
        attempts: tries at serving, retries included.
        requests: HTTP requests that left the machine; in a replay, those of the recording.
        sent: those of them that left in this run.
        input_tokens: known prompt tokens.
        output_tokens: known answer tokens.
        cached_tokens: known prompt tokens found in the provider's prompt cache.
        picodollars: known cost in 1e-12 USD.
        unknown_usage: requests whose tokens are not known.
        unknown_usd: requests whose cost is not known.
        over_tokens: tokens charged beyond what was reserved, attempt by attempt; 0 where
            nothing had to be reserved.
        over_picodollars: the same in 1e-12 USD.
        work_microseconds: time of the attempts.
        retry_microseconds: waits between them.
        queue_microseconds: waits of attempts for a place, a limit of the rate, or a batch.
        charged_tokens: what the limits were charged: the known tokens, and the reservation of
            each request whose usage is not known.
        charged_picodollars: the same in 1e-12 USD; 0 when the endpoint has no prices.
    """

    attempts: int = 0
    requests: int = 0
    sent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    picodollars: int = 0
    unknown_usage: int = 0
    unknown_usd: int = 0
    over_tokens: int = 0
    over_picodollars: int = 0
    work_microseconds: int = 0
    retry_microseconds: int = 0
    queue_microseconds: int = 0
    charged_tokens: int = 0
    charged_picodollars: int = 0

    def __add__(self, other: "Usage") -> "Usage":  # type: ignore[override] # no concatenation
        """Return the sum."""
        return Usage._make(map(add, self, other))

    def __sub__(self, other: "Usage") -> "Usage":
        """Return the difference."""
        return Usage._make(map(sub, self, other))

    @property
    def tokens(self) -> int:
        """Known input and output tokens together."""
        return self.input_tokens + self.output_tokens

    @property
    def usd(self) -> float:
        """Known cost; not the whole cost when `unknown_usd` is above 0."""
        return self.picodollars / PICODOLLARS

    @property
    def over_usd(self) -> float:
        """USD charged beyond what was reserved."""
        return self.over_picodollars / PICODOLLARS

    @property
    def work_seconds(self) -> float:
        """Time of the attempts."""
        return self.work_microseconds / MICROSECONDS

    @property
    def retry_seconds(self) -> float:
        """Waits between attempts."""
        return self.retry_microseconds / MICROSECONDS

    @property
    def queue_seconds(self) -> float:
        """Waits of attempts for a place, a limit of the rate, or a batch."""
        return self.queue_microseconds / MICROSECONDS

    @property
    def wait_microseconds(self) -> int:
        """All waits of the calls: their time in which nothing was sent for them."""
        return self.retry_microseconds + self.queue_microseconds

    @property
    def path_seconds(self) -> float:
        """Attempts and waits: the time waited, on a virtual clock."""
        return (self.work_microseconds + self.wait_microseconds) / MICROSECONDS

    def to_json(self) -> dict[str, int | float]:
        """Return the fields as JSON values in the order of declaration; in USD and seconds."""
        return {
            name: value if unit is None else value / unit
            for name, unit, value in zip(JSON_NAMES, _UNITS, self, strict=True)
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Usage":
        """Return the usage in a JSON object; fields that are absent or null are 0."""
        return cls(
            *(
                value if unit is None else round(value * unit)
                for name, unit in zip(JSON_NAMES, _UNITS, strict=True)
                for value in (document.get(name) or 0,)
            )
        )


def _unit(field: str) -> tuple[str, int | None]:
    """Return the name of a field in JSON, and how many of it make one there; None for 1."""
    if field.endswith("picodollars"):
        return field.replace("picodollars", "usd"), PICODOLLARS
    if field.endswith("microseconds"):
        return field.replace("microseconds", "seconds"), MICROSECONDS
    return field, None


JSON_NAMES = tuple(_unit(field)[0] for field in Usage._fields)
"""Names of the fields in JSON, in the order of declaration."""

_UNITS = tuple(_unit(field)[1] for field in Usage._fields)


def _in_unit(field: str, unit: int) -> property:
    return property(lambda usage: getattr(usage, field) / unit)


# `usd`, `work_seconds` and the like; those that typed code reads are declared above.
for _field, _name, _size in zip(Usage._fields, JSON_NAMES, _UNITS, strict=True):
    if _size is not None and not hasattr(Usage, _name):
        setattr(Usage, _name, _in_unit(_field, _size))

NO_USAGE = Usage()

_TURNED_AWAY = (RateLimited, AuthFailed, BadRequest, UnknownModel, QuotaExhausted, ModelLoading)
"""Errors after which no model has run."""


def is_turned_away(result: Reply | CallError | None) -> bool:
    """Return whether an attempt ended before a model has run."""
    if isinstance(result, ContentRefused):
        return (result.status or 0) >= 400
    return isinstance(result, _TURNED_AWAY)


def attempt_usage(
    result: Reply | CallError | None,
    requests: int,
    latency_seconds: float,
    *,
    prices: Prices | None,
    estimate: Callable[[], "Estimate"],
    received: Callable[[], "tuple[ReportedUsage, Estimate]"] | None = None,
    was_carried: bool = False,
    discount: float = 0.0,
) -> Usage:
    """Return what one attempt has spent, and what the limits are charged for it.

    Args:
        result: how it ended; None when it was broken off.
        estimate: returns what the attempt may have used at most; called only when something
            is unknown.
        received: returns about how much of a stream arrived, and what to charge for that; None
            where nothing arrived.
        was_carried: whether it travelled in the request of another call.
        discount: part of the list price that is not charged, in [0, 1].
    """
    work_microseconds = to_microseconds(latency_seconds)
    usage = None if result is None else result.usage
    if isinstance(result, BatchFailed):
        result = result.cause or result
    is_free = usage is None and is_turned_away(result)
    if is_free or not (requests or was_carried):
        return Usage(1, requests, requests, work_microseconds=work_microseconds)
    if usage is None:
        tokens, picodollars = estimate()[:2]
        input_tokens = output_tokens = 0
        if received is not None:
            known, charged = received()
            input_tokens, output_tokens = known.input_tokens or 0, known.output_tokens or 0
            tokens = min(charged.tokens, tokens)
            picodollars = min(charged.picodollars, picodollars)
        # A carried call has no tokens but its own, however many requests its row counts.
        unknown = 1 if was_carried else max(requests, 1)
        return Usage(
            1,
            requests,
            requests,
            input_tokens,
            output_tokens,
            unknown_usage=unknown,
            unknown_usd=unknown,
            work_microseconds=work_microseconds,
            charged_tokens=tokens,
            charged_picodollars=picodollars,
        )
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    charged_tokens = usage.total_tokens
    is_known = charged_tokens is not None
    if charged_tokens is None:
        charged_tokens = max(input_tokens + output_tokens, estimate().tokens)
    picodollars_known = _price(usage, prices, discount)
    if picodollars_known is not None:
        charged_picodollars = picodollars_known
    else:
        charged_picodollars = 0 if prices is None else estimate().picodollars
    return Usage(
        1,
        requests,
        requests,
        input_tokens,
        output_tokens,
        usage.cached_tokens or 0,
        picodollars_known or 0,
        unknown_usage=0 if is_known else 1,
        unknown_usd=0 if picodollars_known is not None else 1,
        work_microseconds=work_microseconds,
        charged_tokens=charged_tokens,
        charged_picodollars=charged_picodollars,
    )


def _price(usage: ReportedUsage, prices: Prices | None, discount: float) -> int | None:
    if usage.usd is not None:
        return to_picodollars(usage.usd)
    if prices is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    usd = prices.usd(usage.input_tokens, usage.output_tokens, usage.cached_tokens or 0)
    return to_picodollars(usd * (1.0 - discount))
