"""Overhead of asking through the budgeter over asking the client itself.

The client is a fake that answers immediately, so that what remains is the budgeter: key,
reservation in three scopes, single flight, settlement, ledger row. Blocks of bare calls
and blocks of asked calls alternate in one process, and the overhead of one repeat is
the difference of neighbours, in processor time: nothing waits here, and so whatever else
the machine does stays out of it. Then the same over a socket, in wall time, where the
whole client is compared with a bare `AsyncOpenAI`.

    python -m benchmarks.run budgeter
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median, quantiles
from types import MappingProxyType

from openai import AsyncOpenAI

from benchmarks.figures import Figure, Measured
from benchmarks.loopback import loopback_server
from callwise.budget import Budgeter, LedgerRow, Limits, ScopeKind
from callwise.budget.policies.route import RouteByTable
from callwise.budget.token_estimate import Estimator
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
from callwise.calls.key import call_key
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.policies import RouteEntry, RoutePolicy
from callwise.calls.wire import chat_body

__all__ = [
    "MODEL",
    "PRICES",
    "ROOMY",
    "InstantClient",
    "alternating",
    "measure",
    "over_loopback",
    "overheads",
]

REPEATS = 25
"""Blocks of asked calls, each between two of bare ones."""

CALLS = 640
"""Calls of a block; a multiple of 32."""

MAX_DECISION_SECONDS = 15e-6

LOOPBACK_REPEATS = 7
LOOPBACK_CALLS = 96

MAX_OVERHEAD_SECONDS = 50e-6
"""Overhead of one call, one caller at a time."""

ENDPOINT, MODEL = "local", "local-model"
KEY = "sk-local-0123456789abcdef0123"
PRICES = Prices(0.5, 1.5)
ROOMY = Limits(max_calls=10**9, max_requests=10**9, max_tokens=10**12, max_usd=1e6)
"""Limits of every kind, none of which is ever met."""

COUNTING = Limits(max_calls=10**9, max_requests=10**9)
"""Limits for which nothing has to be estimated."""

_SYSTEM = "You are a bookseller in a harbour town, patient, curious and not loud. " * 20
_HISTORY = "We spoke about the ferry, the fog, and a novel that is not yet returned. " * 19

Ask = Callable[[Call], Awaitable[object]]
Timer = Callable[[], float]


def prompt(number: int) -> Call:
    """Return a chat call of 3 KB, made as the pipeline makes them.

    The system message is the same for all, everything after it like no other.
    """
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=(
            Message("system", _SYSTEM),
            Message("assistant", f"On day {number} as before. {_HISTORY}"),
            Message("user", f"What should I read on the crossing? It is day {number}."),
        ),
        sampling=Sampling(temperature=0.7, max_tokens=400),
    )


class InstantClient:
    """Answers immediately and never releases the event loop."""

    is_simulated = False

    def __init__(self) -> None:
        self._replies = [Reply("Read the one about the lighthouse.", usage=ReportedUsage(700, 12))]

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Callable[[int], None] | None = None
    ) -> Sequence[Reply]:
        """Return the same reply every time."""
        del calls, model
        if on_sent is not None:
            on_sent(0)
        return self._replies

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


@contextmanager
def _three_scopes(budgeter: Budgeter) -> Iterator[None]:
    """Ask in a turn of a conversation of the run, each with the limits of the run."""
    limits = budgeter.run.limits
    with (
        budgeter.scope(ScopeKind.CONVERSATION, "c", limits=limits),
        budgeter.scope(ScopeKind.TURN, "0", limits=limits),
    ):
        yield


async def _block(
    ask: Ask, calls: Sequence[Call], callers: int, timer: Timer = time.process_time
) -> float:
    """Return the seconds per call when so many ask at a time, each one after the other."""

    async def caller(mine: Sequence[Call]) -> None:
        for call in mine:
            await ask(call)

    gc.collect()
    began = timer()
    if callers == 1:
        await caller(calls)
    else:
        await asyncio.gather(*(caller(calls[first::callers]) for first in range(callers)))
    return (timer() - began) / len(calls)


async def alternating(
    loads: Mapping[str, LoadKnobs | None],
    callers: int,
    *,
    attached: Mapping[str, Callable[[Budgeter], object]] = MappingProxyType({}),
) -> dict[str, list[float]]:
    """Return seconds per call of budgeters with different knobs of load, a block of each in turn.

    Neighbours are of the same calls and nearly of one time: what else the machine does is in
    all of them. Where calls are routed, there is a second endpoint.

    Args:
        attached: called with the budgeter of a name before its first call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in loads}
    rows: list[LedgerRow] = []
    budgeters = {}
    for name, load in loads.items():
        is_routed = load is not None and load.route is not None
        others = (Endpoint("other", MODEL, InstantClient(), PRICES),) if is_routed else ()
        endpoint = Endpoint(ENDPOINT, MODEL, InstantClient(), PRICES, alternatives=others)
        budgeters[name] = Budgeter(
            {Role.MAIN: endpoint},
            limits=ROOMY,
            sinks=(rows.append,),
            max_kept_rows=0,
            load=load,
        )
        if name in attached:
            attached[name](budgeters[name])
        await budgeters[name].prepare()
    for repeat in range(-1, REPEATS):
        calls = [prompt(repeat * CALLS + number) for number in range(CALLS)]
        for name, budgeter in budgeters.items():
            with _three_scopes(budgeter):
                block_seconds = await _block(budgeter.ask, calls, callers)
            if repeat >= 0:
                seconds[name].append(block_seconds)
            rows.clear()
    for budgeter in budgeters.values():
        budgeter.ledger.check()
    return seconds


async def overheads(limits: Limits, callers: int) -> tuple[list[float], list[float]]:
    """Return seconds per call of the bare client, and what the budgeter adds to each."""
    client = InstantClient()
    rows: list[LedgerRow] = []
    endpoint = Endpoint(ENDPOINT, MODEL, client, PRICES)
    budgeter = Budgeter({Role.MAIN: endpoint}, limits=limits, sinks=(rows.append,), max_kept_rows=0)
    await budgeter.prepare()

    async def bare(call: Call) -> object:
        return await client.answer((call,), model=MODEL)

    alone, added = [], []
    with _three_scopes(budgeter):
        await _block(budgeter.ask, [prompt(-number) for number in range(1, 65)], callers)
        for repeat in range(REPEATS):
            calls = [prompt(repeat * CALLS + number) for number in range(CALLS)]
            first = await _block(bare, calls, callers)
            asked = await _block(budgeter.ask, calls, callers)
            last = await _block(bare, calls, callers)
            alone.append((first + last) / 2)
            added.append(asked - alone[-1])
            rows.clear()
    budgeter.ledger.check()
    return alone, added


def _timed(work: Callable[[Call], object]) -> float:
    """Return the median seconds that one piece of the work takes alone."""
    times = []
    for repeat in range(REPEATS):
        calls = [prompt(repeat * CALLS + number) for number in range(CALLS)]
        began = time.process_time()
        for call in calls:
            work(call)
        times.append((time.process_time() - began) / CALLS)
    return median(times)


async def _task_seconds() -> float:
    """Return what the event loop alone takes to run a task and wake who waits for it."""
    loop = asyncio.get_running_loop()

    async def work(future: asyncio.Future[None]) -> None:
        future.set_result(None)

    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(CALLS):
            future: asyncio.Future[None] = loop.create_future()
            task = loop.create_task(work(future))
            await future
            del task
        times.append((time.process_time() - began) / CALLS)
    return median(times)


def _question(number: int, kind: str) -> Call:
    """Return a call of 3 KB; of kind `30 KB` a longer one, of kind `streamed` a streamed one."""
    call = prompt(number)
    if kind == "30 KB":
        long = Message("user", f"{number}: {_HISTORY * 20}")
        return replace(call, messages=(*call.messages[:2], long))
    return replace(call, stream=kind == "streamed")


async def over_loopback(
    callers: int, kind: str, load: LoadKnobs | None = None
) -> tuple[list[float], list[float]]:
    """Return seconds per call of a bare `AsyncOpenAI`, and of the budgeter with our client."""
    async with loopback_server() as base_url:
        ours = OpenAIClient(base_url, api_key=KEY, max_connections=max(64, callers))
        theirs = AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0)
        endpoint = Endpoint(ENDPOINT, MODEL, ours, PRICES)
        budgeter = Budgeter({Role.MAIN: endpoint}, limits=ROOMY, max_kept_rows=0, load=load)
        await budgeter.prepare()

        async def bare(call: Call) -> object:
            answer = await theirs.chat.completions.create(**chat_body(call, model=MODEL))
            return [event async for event in answer] if call.stream else answer

        alone, asked = [], []
        count = max(LOOPBACK_CALLS, callers * 2)
        with _three_scopes(budgeter):
            for repeat in range(-1, LOOPBACK_REPEATS):
                calls = [_question(repeat * CALLS + number, kind) for number in range(count)]
                bare_seconds = await _block(bare, calls, callers, time.perf_counter)
                asked_seconds = await _block(budgeter.ask, calls, callers, time.perf_counter)
                if repeat >= 0:  # the first opens the connections
                    alone.append(bare_seconds)
                    asked.append(asked_seconds)
        await theirs.close()
        await budgeter.aclose()
    return alone, asked


def _spread(seconds: Sequence[float]) -> str:
    """Return the median in microseconds, and the middle half."""
    quarters = quantiles(seconds, n=4)
    return f"{median(seconds) * 1e6:.1f} ({quarters[0] * 1e6:.1f}-{quarters[2] * 1e6:.1f})"


def _overhead_figures() -> Iterator[Figure]:
    for limited, limits, callers in (
        ("calls, requests, tokens and USD", ROOMY, 1),
        ("calls and requests", COUNTING, 1),
        ("calls, requests, tokens and USD", ROOMY, 32),
    ):
        alone, added = asyncio.run(overheads(limits, callers))
        is_promised = callers == 1
        yield Figure(
            f"budgeter overhead a call, 3 KB prompt, limits on {limited} in three scopes, "
            f"{callers} at a time, us",
            _spread(added),
            f"<= {MAX_OVERHEAD_SECONDS * 1e6:g}" if is_promised else "",
            median(added) <= MAX_OVERHEAD_SECONDS if is_promised else None,
            note=f"median (middle half) of {REPEATS} repeats of {CALLS} calls, in processor time; "
            f"the bare client takes {median(alone) * 1e6:.2f} us",
        )


def _part_figures() -> Iterator[Figure]:
    estimator = Estimator()
    endpoint = Endpoint(ENDPOINT, MODEL, InstantClient(), PRICES)
    estimator.load(MODEL)
    parts = {
        "key": _timed(lambda call: call_key(call, endpoint=ENDPOINT, model=MODEL)),
        "token and USD estimate": _timed(lambda call: estimator.estimate(call, endpoint)),
        "one asyncio task and its future": asyncio.run(_task_seconds()),
    }
    for part, seconds in parts.items():
        yield Figure(f"- of it, measured alone: {part}, us", f"{seconds * 1e6:.1f}")


def _route_figures() -> Iterator[Figure]:
    """Yield what a routing decision takes."""
    names = ("small", "medium", "large")
    endpoints = {
        name: Endpoint(name, name, InstantClient(), Prices(place, 2 * place))
        for place, name in enumerate(names, start=1)
    }
    policy = RoutePolicy(
        table=tuple(RouteEntry(model=name, quality=0.5) for name in names), min_quality=0.4
    )
    route, estimator = RouteByTable(policy), Estimator()
    seconds = _timed(lambda call: route.decide(call, endpoints, estimator))
    yield Figure(
        "a routing decision among 3 models, 3 KB prompt, us",
        f"{seconds * 1e6:.1f}",
        f"<= {MAX_DECISION_SECONDS * 1e6:g}",
        seconds <= MAX_DECISION_SECONDS,
    )


def _loopback_figures() -> Iterator[Figure]:
    for callers, kind, promised in (
        (1, "3 KB", 5),
        (32, "3 KB", 6),
        (256, "3 KB", 9),
        (32, "30 KB", 5),
        (32, "streamed", 17),
    ):
        alone, asked = asyncio.run(over_loopback(callers, kind))
        times = median(bare / mine for mine, bare in zip(asked, alone, strict=True))
        yield Figure(
            f"a call over loopback HTTP, {kind}, {callers} in flight: budgeter and its client, us",
            f"{median(asked) * 1e6:.0f} ({times:.1f} times as fast as a bare `AsyncOpenAI`)",
            f">= {promised} times as fast",
            times >= promised,
            note="median; the server is another process and answers at once",
        )


def measure() -> Measured:
    """Return the overhead, what it is made of, and the ratio over a socket."""
    figures = [*_overhead_figures(), *_part_figures(), *_route_figures(), *_loopback_figures()]
    return Measured("budgeter", figures)


if __name__ == "__main__":
    for figure in measure().figures:
        print(figure)
