"""A recorded trace of 19,366 requests at 60 times its speed, with faults on the way.

Two services in separate processes answer with the trace's numbers of tokens, as fast as the
trace's time passes. Each fails a part of the requests, and one of them dies half-way. The
budgeter reaches both over HTTP, with its schedule, limits, breakers and route. What it counted
is compared with what the two servers logged.
"""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import MODEL, PRICES, ROOMY
from benchmarks.load.meters import LoopLag, MemorySlope, percentile
from benchmarks.load.service import FullLengthModel, running_service
from benchmarks.load.trace import Arrival, arrivals, trace_path
from callwise.budget import Budgeter, LedgerRow
from callwise.budget.clock import Clock, LoopClock, SystemClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Client, Endpoint, Message, Purpose, Reply, Role, Sampling
from callwise.calls.errors import CallError, ConnectionFailed
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.model import body_digest
from callwise.simulator.request_log import LogEntry

__all__ = ["AzureRun", "VirtualRun", "call_of", "in_virtual_time", "measure", "run_trace"]

SPEED = 60.0
STREAMED_EVERY = 4
"""Every fourth call is streamed; of those four times as many are cut."""

SETTINGS = SimulatedSettings(
    error_rate_429=0.02,
    error_rate_500=0.01,
    timeout_rate=0.01,
    cut_stream_rate=0.01 * STREAMED_EVERY,
    retry_after_seconds=1.0 / SPEED,
    real_time_scale=1.0 / SPEED,
)
TIMEOUT_SECONDS = 1.5
"""Longest time for one attempt: 90 seconds of the trace. Answers take up to 20."""

MAX_LOST = 128
"""Most requests that can be on their way to one service when it dies: its slots."""

LOAD = LoadKnobs(
    schedule=ScheduleKnobs(max_concurrency=MAX_LOST, max_tasks=2 * MAX_LOST),
    rate=RateLimits(requests_per_minute=36_000, tokens_per_minute=10**9, burst_seconds=1.0),
    breaker=BreakerKnobs(window_seconds=30.0 / SPEED, open_seconds=20.0 / SPEED),
    route=RouteKnobs(policy="least_busy"),
)
RETRY = RetryPolicy(
    rate_limited_attempts=10,
    server_failed_attempts=5,
    connection_failed_attempts=5,
    timeout_attempts=3,
    stream_cut_attempts=3,
    first_wait_seconds=1.0 / SPEED,
    max_wait_seconds=30.0 / SPEED,
    down_seconds=20.0 / SPEED,
)

_TEXT = "We spoke about the ferry, the fog, and a novel that is not yet returned. " * 1000
_OVERHEAD_TOKENS = 20


class AzureRun(NamedTuple):
    """The outcome of one run of the trace.

    Args:
        differing: calls with more requests in the logs than in the ledger, calls with fewer
            (sent as the server died, which never read them), and calls with other tokens, among
            those whose usage is known.
        known: number of the latter.
    """

    calls: int
    outcomes: Counter[str]
    rows_per_call: Counter[int]
    requests: int
    differing: tuple[int, int, int]
    known: int
    unknown_usage: int
    logs: tuple[list[LogEntry], list[LogEntry]]
    in_flight: int
    unsettled: int
    bytes_per_call: float
    lag_seconds: Sequence[float]
    latencies: Sequence[float]
    failures: Counter[str]
    seconds: float
    cpu_seconds: float
    statistics: dict[str, dict[str, int | float]]


class _Rows:
    """A sink that keeps numbers of each call in arrays made before, so that memory stays flat.

    Calls are numbered from 0 in the order in which they were asked, as the trace has them.
    """

    def __init__(self, calls: int) -> None:
        self.rows = bytearray(calls)
        self.requests = bytearray(calls)
        self.unknown = bytearray(calls)
        self.input_tokens = array("l", bytes(8 * calls))
        self.output_tokens = array("l", bytes(8 * calls))
        self.failures: Counter[str] = Counter()

    def __call__(self, row: LedgerRow) -> None:
        number, usage = row.sequence - 1, row.usage
        self.rows[number] += 1
        self.requests[number] += usage.requests
        self.unknown[number] += usage.unknown_usage
        self.input_tokens[number] += usage.input_tokens
        self.output_tokens[number] += usage.output_tokens
        if row.error:
            self.failures[row.error_name] += 1

    def differing(
        self, trace: Sequence[Arrival], logs: Iterable[Iterable[LogEntry]]
    ) -> tuple[tuple[int, int, int], int]:
        """Return the calls that differ, as `AzureRun` has them, and those with known usage."""
        received: Counter[str] = Counter()
        tokens: dict[str, tuple[int, int]] = {}
        for entry in chain.from_iterable(logs):
            received[entry.body_digest] += 1
            if entry.is_answered:
                sums = tokens.get(entry.body_digest, (0, 0))
                tokens[entry.body_digest] = (
                    sums[0] + entry.input_tokens,
                    sums[1] + entry.output_tokens,
                )
        uncounted = unreceived = others = known = 0
        for number, arrival in enumerate(trace):
            digest = body_digest(chat_body(call_of(number, arrival), model=MODEL))
            uncounted += received[digest] > self.requests[number]
            unreceived += received[digest] < self.requests[number]
            if not self.unknown[number]:
                known += 1
                counted = (self.input_tokens[number], self.output_tokens[number])
                others += counted != tokens.get(digest, (0, 0))
        return (uncounted, unreceived, others), known


def call_of(number: int, arrival: Arrival) -> Call:
    """Return a call with about as many input tokens as an arrival, and as many output tokens."""
    text = f"{number}: {_TEXT[: 4 * max(arrival.input_tokens - _OVERHEAD_TOKENS, 1)]}"
    return Call(
        role=Role.MAIN,
        purpose=Purpose.REASON,
        messages=(Message("user", text),),
        sampling=Sampling(temperature=0.7, max_tokens=max(arrival.output_tokens, 1)),
        timeout_seconds=TIMEOUT_SECONDS,
        stream=number % STREAMED_EVERY == 0,
    )


def _budgeter(clients: Sequence[Client], rows: _Rows, clock: Clock) -> Budgeter:
    first, second = (
        Endpoint(name, MODEL, client, PRICES)
        for name, client in zip(("first", "second"), clients, strict=True)
    )
    return Budgeter(
        {Role.MAIN: replace(first, alternatives=(second,))},
        clock=clock,
        limits=ROOMY,
        retry=RETRY,
        sinks=(rows,),
        max_kept_rows=0,
        load=LOAD,
    )


async def _asked(
    trace: Sequence[Arrival],
    ask: Callable[[int, Arrival], Coroutine[Any, Any, None]],
    *,
    now: Callable[[], float],
    on_call: Callable[[int], None],
) -> None:
    """Ask each call at its time, and return once all have ended."""
    began = now()
    under_way: set[asyncio.Task[None]] = set()
    for number, arrival in enumerate(trace):
        wait = arrival.at_seconds - (now() - began)
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(ask(number, arrival))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        on_call(number)
    if under_way:
        await asyncio.wait(under_way)


def _unsettled(budgeter: Budgeter) -> int:
    """Return by how much the run's quota differs from what its rows were charged."""
    counts = budgeter.ledger.counts()
    (quota,) = budgeter.run.scope_limits.common_quotas()
    used_calls, used_requests, used_tokens, _ = quota.used
    return (
        abs(used_calls - counts.asked)
        + abs(used_requests - counts.requests)
        + abs(used_tokens - counts.charged_tokens)
    )


async def run_trace(trace: Sequence[Arrival], *, dies_at: float | None = 0.5) -> AzureRun:
    """Ask the calls of a trace at their times, and return what came of it.

    Args:
        dies_at: part of the calls after which the first service dies; None for never.
    """
    rows = _Rows(len(trace))
    lag, memory = LoopLag(), MemorySlope()
    latencies = array("d")
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(running_service(settings, has_full_length=True))
            for settings in (SETTINGS, SETTINGS.model_copy(update={"seed": 1}))
        ]
        clients = [
            OpenAIClient(service.base_url, max_connections=256) for service in (first, second)
        ]
        budgeter = _budgeter(clients, rows, SystemClock())
        await budgeter.prepare()
        await stack.enter_async_context(lag.measured())
        dying: list[asyncio.Task[None]] = []

        async def ask(number: int, arrival: Arrival) -> None:
            began = time.perf_counter()
            try:
                await budgeter.ask(call_of(number, arrival))
            except CallError:
                return  # it has its row, which is what is checked
            latencies.append(time.perf_counter() - began)

        def on_call(number: int) -> None:
            if number % 200 == 0:
                memory.read(number)
            if dies_at is not None and number == int(dies_at * len(trace)):
                dying.append(asyncio.create_task(first.crash()))

        began, cpu_began = time.perf_counter(), time.process_time()
        await _asked(trace, ask, now=time.perf_counter, on_call=on_call)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        await asyncio.gather(*dying)
        counts = budgeter.ledger.counts()
        budgeter.ledger.check()
        unsettled = _unsettled(budgeter)
        statistics = budgeter.statistics()
        in_flight = budgeter.in_flight + counts.in_flight
        logs = (await first.log(), await second.log())
        await budgeter.aclose()
    differing, known = rows.differing(trace, logs)
    return AzureRun(
        calls=len(trace),
        outcomes=Counter({outcome.value: n for outcome, n in counts.outcomes.items() if n}),
        rows_per_call=Counter(rows.rows),
        requests=counts.requests,
        differing=differing,
        known=known,
        unknown_usage=counts.unknown_usage,
        logs=logs,
        in_flight=in_flight,
        unsettled=unsettled,
        bytes_per_call=memory.bytes_per_call(),
        lag_seconds=lag.seconds,
        latencies=latencies,
        failures=rows.failures,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        statistics=statistics,
    )


class _DyingClient(SimulatedClient):
    """A service in process, in the time of the loop, that may die.

    Attributes:
        received: requests so far.
        is_dead: whether no connection can be made.
    """

    def __init__(self, seed: int) -> None:
        faster = {"seed": seed, "latency_scale": 1.0 / SPEED, "timeout_seconds": TIMEOUT_SECONDS}
        settings = SETTINGS.model_copy(update=faster)
        super().__init__(settings, sleep=asyncio.sleep)
        self._model = FullLengthModel(settings=settings)
        self.received = 0
        self.is_dead = False

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer each call, or fail to connect; what was under way at its death breaks off."""
        if self.is_dead:
            return [ConnectionFailed("simulated: no connection", was_sent=False) for _ in calls]
        self.received += len(calls)
        results = await super().answer(calls, model=model, on_sent=on_sent)
        if self.is_dead:
            return [ConnectionFailed("simulated: the connection broke") for _ in calls]
        return results


class VirtualRun(NamedTuple):
    """The outcome of the trace in virtual time, which is the same each time."""

    outcomes: Counter[str]
    rows_per_call: Counter[int]
    requests: int
    received: int
    unsettled: int


def in_virtual_time(trace: Sequence[Arrival], *, dies_at: float = 0.5) -> VirtualRun:
    """Return the outcome of the trace against services in process, in virtual time."""

    async def run() -> VirtualRun:
        clients = [_DyingClient(seed) for seed in (0, 1)]
        rows = _Rows(len(trace))
        budgeter = _budgeter(clients, rows, LoopClock())

        async def ask(number: int, arrival: Arrival) -> None:
            with suppress(CallError):  # it has its row, which is what is checked
                await budgeter.ask(call_of(number, arrival))

        def on_call(number: int) -> None:
            clients[0].is_dead = number >= dies_at * len(trace)

        await _asked(trace, ask, now=LoopClock().now, on_call=on_call)
        budgeter.ledger.check()
        counts = budgeter.ledger.counts()
        return VirtualRun(
            Counter({outcome.value: n for outcome, n in counts.outcomes.items() if n}),
            Counter(rows.rows),
            counts.requests,
            sum(client.received for client in clients),
            _unsettled(budgeter) + budgeter.in_flight + counts.in_flight,
        )

    return run_in_virtual_time(run())


def _virtual_figure(run: VirtualRun, calls: int) -> Figure:
    outcomes = ", ".join(f"{name} {count:,}" for name, count in sorted(run.outcomes.items()))
    return Figure(
        f"in virtual time: outcomes of {calls:,} calls; requests in the ledger / received; "
        "unsettled",
        f"{outcomes}; {run.requests:,} / {run.received:,}; {run.unsettled}",
        "one for each call; equal; 0",
        run.rows_per_call == {1: calls} and run.requests == run.received and not run.unsettled,
        note="in virtual time the services are in process, and the machine's speed has no effect",
    )


def _figures(run: AzureRun) -> list[Figure]:
    received = sum(map(len, run.logs))
    uncounted, unreceived, others = run.differing
    faults = Counter(entry.fault for log in run.logs for entry in log if entry.fault != "ok")
    slope = run.bytes_per_call * 10_000 / 1e6
    lag = percentile(run.lag_seconds, 99) * 1000
    outcomes = ", ".join(f"{name} {count}" for name, count in sorted(run.outcomes.items()))
    injected = ", ".join(f"{name} {count}" for name, count in sorted(faults.items()))
    failed = ", ".join(f"{name} {count}" for name, count in sorted(run.failures.items())) or "none"
    return [
        Figure(
            f"outcomes of {run.calls:,} calls",
            f"{outcomes}; rows per call {dict(run.rows_per_call)}",
            "one for each call",
            run.rows_per_call == {1: run.calls} and sum(run.outcomes.values()) == run.calls,
            note=f"injected: {injected}; the first service died half-way; errors of calls that "
            f"failed after all attempts: {failed}",
        ),
        Figure(
            "requests in the ledger / in the servers' logs; calls with one that is not counted; "
            "with one that the dying server did not read",
            f"{run.requests:,} / {received:,}; {uncounted}; {unreceived}",
            "equal but for those; 0",
            not uncounted and run.requests - received <= MAX_LOST,
            note=f"{len(run.logs[0]):,} and {len(run.logs[1]):,} requests by server; a request "
            "that left as the server died is counted, though no log has it",
        ),
        Figure(
            "calls whose tokens differ from the logs, of those whose usage is known",
            f"{others} of {run.known:,}",
            "0",
            not others,
            note=f"{run.unknown_usage} requests without known usage (500, hang, cut) are charged "
            "by estimate",
        ),
        Figure(
            "calls in flight / amounts unsettled at the end",
            f"{run.in_flight} / {run.unsettled}",
            "0 / 0",
            run.in_flight == run.unsettled == 0,
        ),
        Figure("memory, MB per 10,000 calls", f"{slope:.2f}", "< 1", slope < 1.0),
        Figure("lag of the event loop, p99, ms", f"{lag:.1f}", "<= 20", lag <= 20.0),
        Figure(
            "latency of answered calls, p50 / p95 / p99, ms",
            " / ".join(f"{percentile(run.latencies, p) * 1000:.0f}" for p in (50, 95, 99)),
            note=f"{run.seconds:.0f} s, {run.cpu_seconds:.1f} s of one core for the client: "
            f"{run.cpu_seconds / run.calls * 1e6:.0f} us per call",
        ),
    ]


def measure() -> Measured:
    """Return the counts and costs of the whole trace."""
    path = trace_path()
    if not path.exists():
        return Measured("azure", skipped=f"{path} does not exist; set CALLWISE_DATA")
    trace = arrivals(path, speed=SPEED)
    exact = _virtual_figure(in_virtual_time(trace), len(trace))
    return Measured("azure", [exact, *_figures(asyncio.run(run_trace(trace)))])
