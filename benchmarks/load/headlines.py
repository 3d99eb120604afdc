"""The headline tables of the documents 001 and 004, on a simulated service in virtual time.

Their figures are from production systems that are not here. So a service with stated times and
capacities takes the place of one, its load is set so that the state without the budgeter is about
theirs, and the same queries are asked with the budgeter's parts on. Every figure is simulated:
it shows what the parts do to such a load, and nothing about a real service.
"""

import asyncio
import math
import random
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import MODEL, PRICES
from benchmarks.load.meters import percentile
from callwise.budget import Budgeter, Limits
from callwise.budget.clock import LoopClock
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Prices, Purpose, Reply, Role, Sampling
from callwise.calls.call import Priority
from callwise.calls.errors import CallError, ServerFailed
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.reply import ReportedUsage
from callwise.calls.retry import RetryPolicy

__all__ = ["Load", "Outcome", "measure", "outcome_of"]

QUESTIONS = 3_000
"""Different questions; their popularity follows Zipf's law."""
POPULARITY = 1.0
SECONDS, TRIED_SECONDS = 120.0, 120.0
"""Time of the arrivals: of a table, and of a rate that is tried."""
RATES = (25, 50, 75, 100, 150, 200, 250, 300, 400)
EMBED_TOKENS, CHAT_TOKENS = (40, 0), (900, 120)
NEVER = RetryPolicy(
    **{
        f"{name}_attempts": 1
        for name in ("rate_limited", "server_failed", "connection_failed", "timeout")
    }
)


class Load(NamedTuple):
    """A load and a service.

    Args:
        rate: queries per second, in Poisson arrivals.
        embed: median seconds of a request to embed; each further text adds a twentieth.
        search: of a vector search.
        chat: of an answer.
        sigma: SD of the logarithm of all three.
        places: requests that the service embeds, searches and answers at a time; others wait.
        error_rate: part of the requests that are answered 500.
    """

    rate: float
    embed: float
    search: float
    chat: float
    sigma: float
    places: tuple[int, int, int]
    error_rate: float = 0.0
    has_search: bool = True


DOCUMENT_001 = Load(40, 0.09, 0.2, 0.4, 0.5, (12, 16, 64))
DOCUMENT_004 = Load(30, 0.09, 0.2, 0.7, 0.4, (12, 16, 40), error_rate=0.0025, has_search=False)


class Outcome(NamedTuple):
    """Figures of one run.

    Args:
        mean: of the latencies of answered queries, in seconds.
        hits: part of the calls to embed, to search and to answer that needed no request.
        available: part of the queries that were answered.
        usd: price per query.
    """

    mean: float
    p95: float
    hits: dict[Purpose, float]
    available: float
    usd: float
    requests: int


class StatedService:
    """A service with stated times, in the time of the event loop.

    Args:
        seed: of its times and failures.
    """

    is_simulated = True

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._draw = random.Random(seed)
        self._places = [asyncio.Semaphore(count) for count in load.places]

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: object = None
    ) -> Sequence[Reply | CallError]:
        """Answer one call, which may have several texts."""
        (call,) = calls
        if callable(on_sent):
            on_sent(0)
        load, texts = self._load, len(call.inputs)
        kind = 0 if texts else 1 if call.purpose is Purpose.RETRIEVE else 2
        median = (load.embed * (1 + 0.05 * max(texts - 1, 0)), load.search, load.chat)[kind]
        seconds = median * math.exp(load.sigma * self._draw.gauss(0.0, 1.0))
        async with self._places[kind]:
            await asyncio.sleep(seconds)
        if self._draw.random() < load.error_rate:
            return [ServerFailed("simulated: 500", status=500, latency_seconds=seconds)]
        if texts:
            usage = ReportedUsage(EMBED_TOKENS[0] * texts, 0)
            return [Reply("", vectors=((1.0,),) * texts, usage=usage, model=model)]
        tokens = (0, 0) if kind == 1 else CHAT_TOKENS
        return [Reply("an answer", usage=ReportedUsage(*tokens), model=model)]

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""


def _budgeter(load: Load, *, is_on: bool) -> Budgeter:
    """Return a budgeter with everything on, or one that sends each call as it comes."""
    clock = LoopClock()
    service = StatedService(load, seed=1)
    knobs, cache, retry = LoadKnobs(), None, NEVER
    if is_on:
        knobs = LoadKnobs(
            schedule=ScheduleKnobs(
                max_concurrency=load.places[2], max_embedding_concurrency=10, max_tasks=200
            ),
            batch=BatchKnobs(),
            breaker=BreakerKnobs(),
        )
        cache, retry = MemoryCache(clock=clock), None
    return Budgeter(
        {
            Role.MAIN: Endpoint("local", MODEL, service, PRICES),
            Role.EMBED: Endpoint("vectors", MODEL, service, Prices(0.02, 0.0)),
        },
        clock=clock,
        limits=Limits(max_calls=10**9),
        cache=cache,
        retry=retry,
        load=knobs,
        max_kept_rows=0,
    )


def _query(question: int, *, share: bool) -> tuple[Call, Call, Call]:
    """Return the calls of a query: its text to embed, the search, the answer."""
    text = f"question {question}: what do you remember of it?"
    common = {"share": share, "priority": Priority.CRITICAL}
    return (
        Call(Role.EMBED, Purpose.EMBED, inputs=(text,), **common),
        Call(Role.MAIN, Purpose.RETRIEVE, (Message("user", text),), **common),
        Call(
            Role.MAIN,
            Purpose.REASON,
            (Message("user", text),),
            sampling=Sampling(temperature=0.0, max_tokens=CHAT_TOKENS[1]),
            **common,
        ),
    )


async def _run(load: Load, *, is_on: bool, seconds: float) -> Outcome:
    draw = random.Random(0)
    weights = list(accumulate((rank + 1) ** -POPULARITY for rank in range(QUESTIONS)))
    budgeter = _budgeter(load, is_on=is_on)
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    asked = failed = 0

    async def query(question: int) -> None:
        nonlocal failed
        began = loop.time()
        embed, search, answer = _query(question, share=is_on)
        try:
            await budgeter.ask(embed)
            if load.has_search:
                await budgeter.ask(search)
            await budgeter.ask(answer)
        except CallError:
            failed += 1
        else:
            latencies.append(loop.time() - began)

    tasks = []
    while loop.time() < seconds:
        await asyncio.sleep(draw.expovariate(load.rate))
        question = bisect(weights, draw.random() * weights[-1])
        tasks.append(asyncio.create_task(query(question)))
        asked += 1
    await asyncio.gather(*tasks)
    budgeter.ledger.check()
    counts = budgeter.ledger.counts()
    saved: Counter[Purpose] = Counter()
    by_purpose = budgeter.run.counters.by_purpose()
    hits = {}
    for purpose in (Purpose.EMBED, Purpose.RETRIEVE, Purpose.REASON):
        values = by_purpose.get(purpose.value)
        if values is not None:
            saved[purpose] = sum(
                count
                for outcome, count in values.outcomes.items()
                if outcome.value in {"cached", "coalesced"}
            )
            hits[purpose] = saved[purpose] / values.asked
    return Outcome(
        sum(latencies) / len(latencies),
        percentile(latencies, 95),
        hits,
        1 - failed / asked,
        counts.usd / asked,
        counts.requests,
    )


def outcome_of(load: Load, *, is_on: bool, seconds: float = SECONDS) -> Outcome:
    """Return the outcome of so many seconds of arrivals, in virtual time."""
    return run_in_virtual_time(_run(load, is_on=is_on, seconds=seconds))


def _sustained(load: Load, p95: float, *, is_on: bool) -> int:
    """Return the highest of the rates at which the P95 is not longer than this."""
    best = 0
    for rate in RATES:
        tried = load._replace(rate=rate)
        if outcome_of(tried, is_on=is_on, seconds=TRIED_SECONDS).p95 > p95:
            break
        best = rate
    return best


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _parameters(load: Load) -> str:
    stages = f"embed {load.embed * 1000:.0f}, "
    stages += f"search {load.search * 1000:.0f}, " if load.has_search else ""
    return (
        f"{load.rate:g} queries per second, {QUESTIONS:,} questions by Zipf's law with exponent "
        f"{POPULARITY:g}, two minutes from an empty cache; median ms: {stages}answer "
        f"{load.chat * 1000:.0f}, SD of the logarithm {load.sigma:g}; places "
        f"{load.places}; {load.error_rate:.1%} of requests fail"
    )


def _document_001() -> list[Figure]:
    load = DOCUMENT_001
    off, on = (outcome_of(load, is_on=is_on) for is_on in (False, True))
    note = f"001, simulated: {_parameters(load)}"
    rates = [_sustained(load, 2.3, is_on=is_on) for is_on in (False, True)]
    return [
        Figure(
            "001 · mean latency, simulated",
            f"{_ms(off.mean)} -> {_ms(on.mean)} ({on.mean / off.mean - 1:+.0%})",
            "document: 850 -> 180 ms (-79 %)",
            note=note,
        ),
        Figure(
            "001 · P95, simulated",
            f"{_ms(off.p95)} -> {_ms(on.p95)} ({on.p95 / off.p95 - 1:+.0%})",
            "document: 2.3 s -> 450 ms (-80 %)",
        ),
        Figure(
            "001 · calls to embed that needed no request, simulated",
            f"{off.hits[Purpose.EMBED]:.0%} -> {on.hits[Purpose.EMBED]:.0%}",
            "document: 0 -> 73 %",
        ),
        Figure(
            "001 · searches that needed no request, simulated",
            f"{off.hits[Purpose.RETRIEVE]:.0%} -> {on.hits[Purpose.RETRIEVE]:.0%}",
            "document: 12 -> 68 %",
        ),
        Figure(
            "001 · queries per second with a P95 below 2.3 s, simulated",
            f"{rates[0]} -> {rates[1]}",
            "document: 50 -> 280",
            note=f"001, simulated: rates tried: {', '.join(map(str, RATES))}, "
            f"for {TRIED_SECONDS:g} s each",
        ),
        Figure(
            "001 · price per query, simulated",
            f"{off.usd * 1e6:,.0f} -> {on.usd * 1e6:,.0f} USD per million "
            f"({on.usd / off.usd - 1:+.0%})",
            "document: -65 %",
        ),
    ]


def _document_004() -> list[Figure]:
    load = DOCUMENT_004
    off, on = (outcome_of(load, is_on=is_on) for is_on in (False, True))
    rates = [_sustained(load, 2.4, is_on=is_on) for is_on in (False, True)]
    return [
        Figure(
            "004 · mean latency, simulated",
            f"{_ms(off.mean)} -> {_ms(on.mean)} ({on.mean / off.mean - 1:+.1%})",
            "document: 800 -> 300 ms (-62.5 %)",
            note=f"004, simulated: {_parameters(load)}",
        ),
        Figure(
            "004 · queries per second with a P95 below 2.4 s, simulated",
            f"{rates[0]} -> {rates[1]}",
            "document: 50 -> 150 (x 3)",
        ),
        Figure(
            "004 · price of tokens per query, simulated",
            f"{on.usd / off.usd - 1:+.0%}",
            "document: -50 %",
        ),
        Figure(
            "004 · answers that needed no request, simulated",
            f"{off.hits[Purpose.REASON]:.0%} -> {on.hits[Purpose.REASON]:.0%}",
            "document: 60 -> 85 %",
        ),
        Figure(
            "004 · queries answered, simulated",
            f"{off.available:.2%} -> {on.available:.2%}",
            "document: 99.5 -> 99.9 %",
        ),
    ]


def measure() -> Measured:
    """Return the documents' tables as this service gives them."""
    return Measured("headlines", [*_document_001(), *_document_004()])
