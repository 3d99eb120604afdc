"""Whether any limit is ever passed when many ask concurrently.

32 and 256 concurrent callers meet a limit of 5 calls, once for each kind of limit.
The client lets go of the event loop at uneven moments while it answers, and adds up by
itself what it was sent and what its answers used. Each time anything happens the limit's
counters are read too, reservations included.

A second part lets the answers use less than was reserved, and callers come again and
again: what is refunded may then be used, the limit must never be passed, and at the end
no call that fits may be refused.

    python -m benchmarks.run overshoot
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Measured
from callwise.budget import Budgeter, Limits
from callwise.budget.token_estimate import RESERVE_MARGIN
from callwise.budget.usage import PICODOLLARS
from callwise.calls import (
    Call,
    Endpoint,
    Message,
    Prices,
    Purpose,
    Reply,
    ReportedUsage,
    Role,
    Sampling,
)
from callwise.calls.errors import CallRefused

__all__ = ["Storm", "measure", "storm"]

ALLOWED = 5
"""Calls that the limit allows."""

CROWDS = (32, 256)
SEEDS = range(5)

INPUT_TOKENS = 1_000
"""Estimate of every call, the margin included."""

OUTPUT_TOKENS = 500
CALL_TOKENS = INPUT_TOKENS + OUTPUT_TOKENS
PRICES = Prices(2.0, 8.0)
CALL_USD = PRICES.usd(INPUT_TOKENS, OUTPUT_TOKENS)

LIMITS = {
    "calls": Limits(max_calls=ALLOWED),
    "requests": Limits(max_requests=ALLOWED),
    "tokens": Limits(max_tokens=ALLOWED * CALL_TOKENS),
    "USD": Limits(max_usd=ALLOWED * CALL_USD),
}
"""Each allows 5 calls."""


class _KnownSize:
    """Counts every call as the same: what is under test is the limit, not the estimate."""

    def call_tokens(self, call: Call) -> int:
        """Return input tokens that come to `INPUT_TOKENS` with the margin."""
        del call
        return int(INPUT_TOKENS / RESERVE_MARGIN)


class _SlowClient:
    """Answers after an uneven number of turns of the event loop, and counts what it answers.

    Args:
        usage: what each answer uses.
        draw: how long each answer takes.
        look: called each time something happens.
    """

    is_simulated = False

    def __init__(self, usage: ReportedUsage, draw: random.Random, look: Callable[[], None]) -> None:
        self.requests = self.answered = 0
        self._usage = usage
        self._draw = draw
        self._look = look

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Callable[[int], None] | None = None
    ) -> Sequence[Reply]:
        """Return one answer."""
        del calls, model
        await self._pass()
        self.requests += 1
        if on_sent is not None:
            on_sent(0)
        self._look()
        await self._pass()
        self.answered += 1
        self._look()
        return [Reply("Here it is.", usage=self._usage)]

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    async def _pass(self) -> None:
        for _ in range(self._draw.randrange(1, 20)):
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Storm:
    """Result of one crowd.

    Args:
        served: answered calls.
        refused: refused calls.
        requests: requests that the client was sent.
        answered: answers that the client gave.
        highest: the most that the limit's counters ever showed, as a share of the limit.
        left: what the limit has left at the end, of what it allows.
    """

    served: int
    refused: int
    requests: int
    answered: int
    highest: float
    left: float


def _call(number: int) -> Call:
    return Call(
        role=Role.MAIN,
        purpose=Purpose.OTHER,
        messages=(Message("user", f"Question {number}, unlike the others."),),
        sampling=Sampling(max_tokens=OUTPUT_TOKENS),
    )


def _allowed(limits: Limits) -> tuple[int, float]:
    """Return which amount is limited, by the order of `Amounts`, and to what."""
    usd = None if limits.max_usd is None else limits.max_usd * PICODOLLARS
    amounts = (limits.max_calls, limits.max_requests, limits.max_tokens, usd)
    return next((index, float(limit)) for index, limit in enumerate(amounts) if limit is not None)


async def storm(limits: Limits, *, callers: int, times: int, used_part: float, seed: int) -> Storm:
    """Let a crowd ask under one limit.

    Args:
        limits: with one limit in it.
        callers: number of concurrent callers.
        times: how often each of them asks, one call after the other.
        used_part: the part of its reservation that each answer uses, in (0, 1].
        seed: of the moments at which anything happens.
    """
    index, limit = _allowed(limits)
    highest = 0.0

    def used() -> float:
        (quota,) = budgeter.run.scope_limits.common_quotas()
        return quota.used[index] / limit

    def look() -> None:
        nonlocal highest
        highest = max(highest, used())

    draw = random.Random(seed)
    usage = ReportedUsage(int(INPUT_TOKENS * used_part), int(OUTPUT_TOKENS * used_part))
    client = _SlowClient(usage, draw, look)
    endpoint = Endpoint("local", "local-model", client, PRICES)
    budgeter = Budgeter({Role.MAIN: endpoint}, limits=limits, estimator=_KnownSize())

    async def ask(caller: int) -> list[bool]:
        got = []
        for time in range(times):
            for _ in range(draw.randrange(40 * time + 1)):
                await asyncio.sleep(0)
            try:
                await budgeter.ask(_call(caller * times + time))
            except CallRefused:
                got.append(False)
            else:
                got.append(True)
            look()
        return got

    answers = await asyncio.gather(*(ask(caller) for caller in range(callers)))
    budgeter.ledger.check()
    served = sum(sum(got) for got in answers)
    return Storm(
        served=served,
        refused=callers * times - served,
        requests=client.requests,
        answered=client.answered,
        highest=highest,
        left=1 - used(),
    )


def _crowd_figures() -> Iterator[Figure]:
    for kind, limits in LIMITS.items():
        for callers in CROWDS:
            storms = [
                asyncio.run(storm(limits, callers=callers, times=1, used_part=1.0, seed=seed))
                for seed in SEEDS
            ]
            served = sorted({storm.served for storm in storms})
            highest = max(storm.highest for storm in storms)
            is_exact = all(
                (each.served, each.refused, each.requests, each.answered)
                == (ALLOWED, callers - ALLOWED, ALLOWED, ALLOWED)
                for each in storms
            )
            yield Figure(
                f"{callers} calls, {ALLOWED} allowed in {kind}: "
                "served / refused / highest, of limit",
                f"{'-'.join(map(str, served))} / {storms[0].refused} / {highest:.0%}",
                f"{ALLOWED} / {callers - ALLOWED} / <= 100%",
                is_exact and highest <= 1,
                note=f"{len(storms)} seeds; the client counts the same",
            )


def _refund_figures() -> Iterator[Figure]:
    callers, times, used_part = 64, 8, 0.4
    for kind, call_amount, limit in (
        ("tokens", CALL_TOKENS, 20 * CALL_TOKENS),
        ("USD", CALL_USD, 20 * CALL_USD),
    ):
        limits = Limits(max_tokens=limit) if kind == "tokens" else Limits(max_usd=limit)
        storms = [
            asyncio.run(storm(limits, callers=callers, times=times, used_part=used_part, seed=seed))
            for seed in SEEDS
        ]
        highest = max(each.highest for each in storms)
        left_calls = max(each.left for each in storms) * limit / call_amount
        served = sorted(each.served for each in storms)
        yield Figure(
            f"{callers} callers x {times}, answers use {used_part:.0%} of what is reserved, "
            f"{kind} for 20 reservations: served / highest, of limit / reservations left",
            f"{served[0]}-{served[-1]} / {highest:.0%} / {left_calls:.2f}",
            "<= 100% / < 1",
            highest <= 1 and left_calls < 1,
            note="refunds are used up, and no more",
        )


def measure() -> Measured:
    """Return what was served and how full each limit ever was."""
    return Measured("overshoot", [*_crowd_figures(), *_refund_figures()])


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
