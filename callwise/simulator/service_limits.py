"""Limits of a simulated service: requests and tokens per minute, and requests in flight.

They are kept exactly and by the service alone, on the time that is passed in, so that a client
can be held against them: what the service refuses, the client sent too early.

Invariant: an admitted request has taken from every dimension, a refused one from none.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RefusedByLimit", "ServiceGate", "SimulatedLimits"]

PerMinute = Annotated[int, Field(ge=1, le=10**12)]

MINUTE_SECONDS = 60.0

TOLERANCE = 1e-6
"""Part of a limit that may be missing: sums of times are not exact."""


class SimulatedLimits(BaseModel):
    """The limits of a simulated service. None is no limit.

    Tokens are those that the answer really uses, counted when its request arrives.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: PerMinute | None = None
    """Requests per minute. A batch is one request."""
    tokens_per_minute: PerMinute | None = None
    """Input and output tokens together, per minute."""
    input_tokens_per_minute: PerMinute | None = None
    """Input tokens per minute."""
    output_tokens_per_minute: PerMinute | None = None
    """Output tokens per minute."""
    window: Literal["bucket", "sliding"] = "bucket"
    """`bucket` refills all the time; `sliding` counts the last 60 seconds."""
    burst_seconds: Annotated[float, Field(gt=0.0, le=3600.0)] = 60.0
    """Size of a full bucket, in seconds of its rate. For `bucket`."""
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    """Most requests that are answered at one time; a further one is refused."""

    def rates(self) -> dict[str, int]:
        """Return the limits per minute by dimension, those that are set."""
        rates = {
            "requests": self.requests_per_minute,
            "tokens": self.tokens_per_minute,
            "input_tokens": self.input_tokens_per_minute,
            "output_tokens": self.output_tokens_per_minute,
        }
        return {name: rate for name, rate in rates.items() if rate is not None}


class RefusedByLimit(NamedTuple):
    """A request that a limit did not admit.

    Args:
        dimension: the limit, such as `requests` or `in_flight`.
        wait_seconds: time until it would fit; infinite where it never does.
    """

    dimension: str
    wait_seconds: float


class _Meter(Protocol):
    limit: int

    def wait_seconds(self, amount: int, now: float) -> float:
        """Return the time until the amount fits; 0 when it does, infinite when it never does."""

    def take(self, amount: int, now: float) -> None:
        """Count an amount that fits."""

    def remaining(self, now: float) -> int:
        """Return what is left now, in whole units."""

    def reset_seconds(self, now: float) -> float:
        """Return the time until everything is left again."""


class _Bucket:
    def __init__(self, limit: int, burst_seconds: float) -> None:
        self.limit = limit
        self._per_second = limit / MINUTE_SECONDS
        self._size = self._per_second * burst_seconds
        self._level = self._size
        self._at_seconds = float("-inf")

    def _refill(self, now: float) -> None:
        if now > self._at_seconds:
            if self._at_seconds > float("-inf"):
                gained = (now - self._at_seconds) * self._per_second
                self._level = min(self._level + gained, self._size)
            self._at_seconds = now

    def wait_seconds(self, amount: int, now: float) -> float:
        if amount > self._size:
            return float("inf")
        self._refill(now)
        missing = amount - self._level
        return 0.0 if missing <= TOLERANCE * self._size else missing / self._per_second

    def take(self, amount: int, now: float) -> None:
        self._refill(now)
        self._level -= amount

    def remaining(self, now: float) -> int:
        self._refill(now)
        return max(int(self._level + TOLERANCE), 0)

    def reset_seconds(self, now: float) -> float:
        self._refill(now)
        return (self._size - self._level) / self._per_second


class _SlidingWindow:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def _expire(self, now: float) -> None:
        edge = now - MINUTE_SECONDS * (1.0 - TOLERANCE)
        while self._taken and self._taken[0][0] <= edge:
            self._sum -= self._taken.popleft()[1]

    def wait_seconds(self, amount: int, now: float) -> float:
        if amount > self.limit:
            return float("inf")
        self._expire(now)
        excess = self._sum + amount - self.limit
        for at_seconds, taken in self._taken:
            if excess <= 0:
                break
            excess -= taken
            if excess <= 0:
                return at_seconds + MINUTE_SECONDS - now
        return 0.0

    def take(self, amount: int, now: float) -> None:
        self._taken.append((now, amount))
        self._sum += amount

    def remaining(self, now: float) -> int:
        self._expire(now)
        return self.limit - self._sum

    def reset_seconds(self, now: float) -> float:
        return self._taken[-1][0] + MINUTE_SECONDS - now if self._taken else 0.0


class ServiceGate:
    """Admits the requests of one service by its limits.

    Args:
        limits: of the service.

    Attributes:
        max_in_flight: may be changed while it serves, as the capacity of a real service does.
        in_flight: requests that are admitted and not released.
        taken: what was admitted, by dimension.
        refused: requests that were refused, by dimension.
    """

    def __init__(self, limits: SimulatedLimits) -> None:
        self.max_in_flight = limits.max_in_flight
        self.in_flight = 0
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._meters: dict[str, _Meter] = {
            name: _SlidingWindow(rate)
            if limits.window == "sliding"
            else _Bucket(rate, limits.burst_seconds)
            for name, rate in limits.rates().items()
        }

    def admit(self, now: float, *, input_tokens: int, output_tokens: int) -> RefusedByLimit | None:
        """Count a request against every limit, or return what refuses it.

        An admitted one is in flight until `release`.

        Args:
            now: seconds; does not go back.
        """
        refused = self._refusal(now, _amounts(input_tokens, output_tokens))
        if refused is not None:
            self.refused[refused.dimension] += 1
            return refused
        amounts = _amounts(input_tokens, output_tokens)
        for name, meter in self._meters.items():
            meter.take(amounts[name], now)
        self.taken.update(amounts)
        self.in_flight += 1
        return None

    def release(self) -> None:
        """Count an admitted request as answered."""
        self.in_flight -= 1

    def headers(self, now: float) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers of a response, as OpenAI writes them."""
        headers = {}
        for name, meter in self._meters.items():
            dimension = name.replace("_", "-")
            headers[f"x-ratelimit-limit-{dimension}"] = str(meter.limit)
            headers[f"x-ratelimit-remaining-{dimension}"] = str(meter.remaining(now))
            headers[f"x-ratelimit-reset-{dimension}"] = _duration(meter.reset_seconds(now))
        return headers

    def _refusal(self, now: float, amounts: Mapping[str, int]) -> RefusedByLimit | None:
        if self.max_in_flight is not None and self.in_flight >= self.max_in_flight:
            return RefusedByLimit("in_flight", 0.0)
        waits = {
            name: meter.wait_seconds(amounts[name], now) for name, meter in self._meters.items()
        }
        longest = max(waits, key=waits.__getitem__, default="")
        if not longest or waits[longest] <= 0.0:
            return None
        return RefusedByLimit(longest, waits[longest])


def _amounts(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "requests": 1,
        "tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }


def _duration(seconds: float) -> str:
    """Return a time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`."""
    if seconds < 1.0:
        return f"{round(max(seconds, 0.0) * 1000)}ms"
    if seconds < MINUTE_SECONDS:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s"
