"""Service in virtual time that counts requests and tokens exactly, and a plan of calls to it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from callwise.budget import Budgeter, RetryPolicy
from callwise.budget.clock import LoopClock
from callwise.calls import Call, Endpoint, Message, Purpose, Role
from callwise.calls.call import Sampling
from callwise.calls.client import Client
from callwise.calls.errors import CallError, RateLimited
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import Reply, ReportedUsage

MINUTE_SECONDS = 60.0


class SlidingCount:
    """Amounts that arrived within the last minute."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._arrived: deque[tuple[float, float]] = deque()

    def left(self, now: float) -> float:
        """Return what may still arrive now."""
        while self._arrived and self._arrived[0][0] <= now - MINUTE_SECONDS:
            self._arrived.popleft()
        return self.per_minute - sum(amount for _, amount in self._arrived)

    def arrive(self, amount: float, now: float) -> None:
        """Count an amount."""
        self._arrived.append((now, amount))


class BucketCount:
    """A bucket of one minute's amount that refills evenly."""

    def __init__(self, per_minute: float) -> None:
        self.per_minute = self._level = per_minute
        self._at = 0.0

    def left(self, now: float) -> float:
        """Return what may still arrive now."""
        refilled = (now - self._at) * self.per_minute / MINUTE_SECONDS
        self._level, self._at = min(self.per_minute, self._level + refilled), now
        return self._level

    def arrive(self, amount: float, now: float) -> None:
        """Count an amount."""
        self._level -= amount


class LimitedService:
    """An endpoint with limits, which answers 429 above them. A `Client`.

    Args:
        counts: how it counts requests and tokens: real ones, on arrival.
        tokens_of: real input and output tokens of a call.
        seconds_of: time that its answer takes.
        has_headers: whether it states its limits.
        inner: gives the answers, whose tokens are then real; None answers "yes".
    """

    is_simulated = True

    def __init__(
        self,
        counts: Callable[[float], SlidingCount | BucketCount],
        requests: float,
        tokens: float,
        *,
        tokens_of: Callable[[Call], tuple[int, int]],
        seconds_of: Callable[[Call], float],
        has_headers: bool = False,
        inner: Client | None = None,
    ) -> None:
        self.requests, self.tokens = counts(requests), counts(tokens)
        self.tokens_of, self.seconds_of = tokens_of, seconds_of
        self.has_headers = has_headers
        self.inner = inner
        self.listeners: list[Callable[[Mapping[str, str]], None]] = []
        self.served = self.refused = self.used_tokens = 0
        self.last_sent_seconds = 0.0
        self.ended_seconds = 0.0

    def report_headers(self, model: str, listener: Callable[[Mapping[str, str]], None]) -> None:
        """Call a function with the headers of each response."""
        del model
        self.listeners.append(listener)

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Callable[[int], None] | None = None
    ) -> Sequence[Reply | CallError]:
        """Answer a call, or refuse it."""
        (call,) = calls
        if on_sent is not None:
            on_sent(0)
        now = asyncio.get_running_loop().time()
        if self.inner is None:
            of_input, of_output = self.tokens_of(call)
            reply = Reply("yes", usage=ReportedUsage(of_input, of_output), model=model)
        else:
            (reply,) = await self.inner.answer(calls, model=model)
            assert isinstance(reply, Reply)
            of_input, of_output = reply.usage.input_tokens or 0, reply.usage.output_tokens or 0
        tokens = of_input + of_output
        is_refused = self.requests.left(now) < 1 or self.tokens.left(now) < tokens
        if not is_refused:
            self.requests.arrive(1, now)
            self.tokens.arrive(tokens, now)
            self.last_sent_seconds = now
        for listener in self.listeners if self.has_headers else ():
            listener(self._headers(now))
        if is_refused:
            self.refused += 1
            return [RateLimited("429", retry_after_seconds=1.0)]
        await asyncio.sleep(self.seconds_of(call))
        self.served += 1
        self.used_tokens += tokens
        self.ended_seconds = asyncio.get_running_loop().time()
        return [reply]

    async def aclose(self) -> None:
        """Do nothing."""

    def _headers(self, now: float) -> dict[str, str]:
        headers = {}
        for name, count in (("requests", self.requests), ("tokens", self.tokens)):
            left = max(int(count.left(now)), 0)
            reset_seconds = (count.per_minute - left) / count.per_minute * MINUTE_SECONDS
            headers |= {
                f"x-ratelimit-limit-{name}": f"{count.per_minute:g}",
                f"x-ratelimit-remaining-{name}": str(left),
                f"x-ratelimit-reset-{name}": f"{reset_seconds:.3f}s",
            }
        return headers


class Counter:
    """Estimates each call at what its text says."""

    def call_tokens(self, call: Call) -> int:
        """Return the estimate."""
        return int(call.messages[-1].content.split()[1])


def planned_calls(count: int, *, mean_tokens: int, off: float, seed: int) -> list[Call]:
    """Return calls whose text is their number, their estimate and their real tokens.

    Args:
        off: most part by which the estimate is off from the real tokens, in either direction.
    """
    draw = random.Random(seed)
    calls = []
    for number in range(count):
        real = int(mean_tokens * draw.uniform(0.5, 1.5))
        estimate = int(real * draw.uniform(1 - off, 1 + off))
        text = f"{number} {estimate} {real}"
        sampling = Sampling(temperature=1.0, max_tokens=1)
        calls.append(Call(Role.MAIN, Purpose.PLAN, (Message("user", text),), sampling=sampling))
    return calls


def real_tokens(call: Call) -> tuple[int, int]:
    """Return the real tokens of a planned call."""
    return int(call.messages[-1].content.split()[2]) - 1, 1


def limited_budgeter(
    client: Any, rate: RateLimits, *, concurrency: int = 10, **options: Any
) -> Budgeter:
    """Return a budgeter in the loop's time whose every role is one endpoint with limits."""
    endpoint = Endpoint("limited", "m", client)
    knobs = ScheduleKnobs(max_concurrency=concurrency, max_tasks=concurrency)
    return Budgeter(
        dict.fromkeys((Role.MAIN, Role.JUDGE, Role.FAST), endpoint),
        clock=LoopClock(),
        load=LoadKnobs(schedule=knobs, rate=rate),
        retry=options.pop("retry", RetryPolicy(rate_limited_attempts=10)),
        **options,
    )
