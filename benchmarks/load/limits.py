"""Sixty requests and 90,000 tokens per minute, with estimates that are off by 40 %.

The same calls go to a service that keeps its limits exactly, once as a bucket and once as a
sliding window, in virtual time; and once over HTTP, at twenty times the rate. The limit of the
makespan is that of calls in the order of asking, each sent as soon as the service would take it
by the tokens that it really uses.
"""

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import MODEL, PRICES, ROOMY, chat_call
from benchmarks.load.service import FullLengthModel, running_service
from callwise.budget import Budgeter
from callwise.budget.clock import Clock, LoopClock, SystemClock
from callwise.budget.token_estimate import RESERVE_MARGIN
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Client, Endpoint, Role
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.model import prompt_tokens
from callwise.simulator.service_limits import ServiceGate, SimulatedLimits
from tests.callwise.plans.test_makespan import TURN, knobs, measured, predicted

__all__ = ["Paced", "best_seconds", "measure", "paced_calls"]

Window = Literal["bucket", "sliding"]

REQUESTS, TOKENS = 60, 90_000
"""Per minute."""
OFF = 0.4
CALLS = 400
SLIDING_CALLS = 3_200
"""A sliding window lets requests go in groups of a minute: of few calls it would show little."""
HTTP_CALLS = 900
PLAN_USERS, PLAN_TURNS = 8, 10
SPEED = 20
"""Factor of the limits over HTTP."""


class Paced(NamedTuple):
    """The outcome of calls under limits.

    Args:
        seconds: until the last answer.
        best: the limit of that.
        over: requests that the service refused.
        used: part of what the binding limit allowed by the time of the last request.
        most_used: the same of the best makespan: calls of uneven size do not fill a window.
        binding: name of that limit.
    """

    seconds: float
    best: float
    over: int
    used: float
    most_used: float
    binding: str


class _OffByFortyPercent:
    """A counter of tokens that is off by 40 %, up or down by the call's text."""

    def call_tokens(self, call: Call) -> int:
        """Return its estimate, before the margin that every estimate gets."""
        known = prompt_tokens(chat_body(call, model=MODEL))
        is_high = blake2b(call.messages[-1].content.encode(), digest_size=1).digest()[0] % 2
        return max(int(known * (1.0 + OFF if is_high else 1.0 - OFF) / RESERVE_MARGIN), 1)


def paced_calls(count: int, *, mean_tokens: int) -> list[Call]:
    """Return calls of uneven size, with this mean of input and output tokens together."""
    calls = []
    for number in range(count):
        size = mean_tokens * (1 + number % 7) // 4  # a quarter to seven quarters
        text = f"{number} " + "word" * max(size - 120, 1)
        calls.append(chat_call(text, max_tokens=100))
    return calls


def _usage(call: Call) -> tuple[int, int]:
    return prompt_tokens(chat_body(call, model=MODEL)), call.sampling.max_tokens or 0


def best_seconds(calls: Sequence[Call], limits: SimulatedLimits) -> tuple[float, str]:
    """Return when the last request can leave, and the limit that binds it."""
    gate, now, binding = ServiceGate(limits), 0.0, "requests"
    for call in calls:
        input_tokens, output_tokens = _usage(call)
        while True:
            refused = gate.admit(now, input_tokens=input_tokens, output_tokens=output_tokens)
            if refused is None:
                break
            now += max(refused.wait_seconds, 1e-9)
            binding = refused.dimension
    return now, binding


def _allowed(limits: SimulatedLimits, dimension: str, seconds: float) -> float:
    """Return what a limit allows from the beginning to a moment."""
    rate = limits.rates()[dimension] / 60.0
    if limits.window == "bucket":
        return rate * (limits.burst_seconds + seconds)
    return 60.0 * rate * (seconds // 60.0 + 1)


def _service(window: Window, speed: int) -> SimulatedLimits:
    if window == "bucket":
        return SimulatedLimits(
            requests_per_minute=REQUESTS * speed,
            tokens_per_minute=TOKENS * speed,
            burst_seconds=60.0 / speed,
        )
    return SimulatedLimits(
        requests_per_minute=REQUESTS * speed, tokens_per_minute=TOKENS * speed, window=window
    )


def _knobs(limits: SimulatedLimits) -> LoadKnobs:
    burst = {"burst_seconds": limits.burst_seconds} if limits.window == "bucket" else {}
    rate = RateLimits(
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        window=limits.window,
        learn=False,
        **burst,
    )
    return LoadKnobs(schedule=ScheduleKnobs(max_concurrency=64, max_tasks=64), rate=rate)


async def _asked(
    calls: Sequence[Call], client: Client, limits: SimulatedLimits, clock: Clock
) -> float:
    """Ask all calls concurrently, and return the seconds until the last answer."""
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("local", MODEL, client, PRICES)},
        limits=ROOMY,
        clock=clock,
        estimator=_OffByFortyPercent(),
        retry=RetryPolicy(rate_limited_attempts=10),
        load=_knobs(limits),
    )
    began = clock.now()
    await asyncio.gather(*(budgeter.ask(call) for call in calls))
    seconds = clock.now() - began
    budgeter.ledger.check()
    await budgeter.aclose()
    return seconds


class _SizedClient(SimulatedClient):
    """A simulated client whose answers have the length that was asked for."""

    def __init__(self, settings: SimulatedSettings, clock: Clock) -> None:
        super().__init__(settings, sleep=asyncio.sleep, now=clock.now)
        self._model = FullLengthModel(settings=settings)


def in_virtual_time(window: Window, mean_tokens: int) -> Paced:
    """Return the outcome in virtual time, where the answer comes immediately."""
    limits = _service(window, 1)
    count = CALLS if window == "bucket" else SLIDING_CALLS
    calls = paced_calls(count, mean_tokens=mean_tokens)
    best, binding = best_seconds(calls, limits)

    async def run() -> tuple[float, int, int]:
        clock = LoopClock()
        settings = SimulatedSettings(limits=limits, latency_scale=0.0)
        client = _SizedClient(settings, clock)
        seconds = await _asked(calls, client, limits, clock)
        gate = client.gate
        if gate is None:
            raise RuntimeError("the client keeps no limits")
        return seconds, gate.refused.total(), gate.taken[binding]

    seconds, over, taken = run_in_virtual_time(run())
    used = taken / _allowed(limits, binding, seconds)
    most_used = taken / _allowed(limits, binding, best)
    return Paced(seconds, best, over, used, most_used, binding)


async def over_http(window: Window, mean_tokens: int) -> Paced:
    """Return the outcome over HTTP in real time, at a multiple of the rate."""
    limits = _service(window, SPEED)
    calls = paced_calls(HTTP_CALLS, mean_tokens=mean_tokens)
    best, binding = best_seconds(calls, limits)
    settings = SimulatedSettings(limits=limits, latency_scale=0.0)
    async with running_service(settings, has_full_length=True) as service:
        client = OpenAIClient(service.base_url, max_connections=64)
        seconds = await _asked(calls, client, limits, SystemClock())
        log = await service.log()
    served = [entry for entry in log if not entry.limit]
    taken = {
        "requests": len(served),
        "tokens": sum(entry.input_tokens + entry.output_tokens for entry in served),
    }[binding]
    used = taken / _allowed(limits, binding, seconds)
    most_used = taken / _allowed(limits, binding, best)
    return Paced(seconds, best, len(log) - len(served), used, most_used, binding)


def _figure(name: str, paced: Paced) -> Figure:
    ratio = paced.seconds / paced.best
    return Figure(
        f"{name}, {paced.binding.replace('_', ' ')} bind: makespan / its limit, requests over, "
        "part of the binding limit used",
        f"{paced.seconds:.1f} / {paced.best:.1f} s = {ratio:.3f}, {paced.over}, {paced.used:.1%}",
        "<= 1.02, 0, >= 97 %",
        ratio <= 1.02 and not paced.over and paced.used >= 0.97,
        note=f"{name}, {paced.binding}: the best makespan uses {min(paced.most_used, 1.0):.1%}; "
        f"{OFF:.0%} of every estimate is wrong, up or down",
    )


def _predictions() -> Iterator[Figure]:
    """Yield what a plan predicts for users of a turn, next to a run in virtual time."""
    for name, load in (
        ("5 at a time", knobs()),
        ("60 requests per minute", knobs(requests_per_minute=REQUESTS)),
        (
            "60 requests and 90,000 tokens per minute",
            knobs(concurrency=64, requests_per_minute=REQUESTS, tokens_per_minute=TOKENS),
        ),
        ("a sliding 120 per minute", knobs(64, requests_per_minute=120, window="sliding")),
    ):
        plan = predicted(TURN, load, users=PLAN_USERS, turns=PLAN_TURNS).seconds
        run = measured(TURN, load, users=PLAN_USERS, turns=PLAN_TURNS)
        yield Figure(
            f"`plan` for {PLAN_USERS} users of {PLAN_TURNS} turns, {name}: predicted / run",
            f"{plan:.1f} / {run:.1f} s ({plan / run - 1:+.1%})",
            "within 10 %",
            abs(plan - run) <= 0.1 * run,
        )


def measure() -> Measured:
    """Return the makespans under both windows, with requests or with tokens binding."""
    figures = [*_predictions()]
    windows: tuple[Window, ...] = ("bucket", "sliding")
    for window in windows:
        for mean_tokens in (800, 2400):
            paced = in_virtual_time(window, mean_tokens)
            figures.append(_figure(f"{window}, virtual time", paced))
    for mean_tokens in (800, 2400):
        paced = asyncio.run(over_http("bucket", mean_tokens))
        figures.append(_figure(f"bucket, over HTTP at {SPEED} times the rate", paced))
    return Measured("limits", figures)
