"""Texts to embed and chat calls that travel together, over HTTP in real time."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import MODEL, PRICES, ROOMY, loaded
from benchmarks.load.meters import percentile
from benchmarks.load.service import running_service
from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls import Call, Endpoint, Message, Purpose, Role, Sampling
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.simulator import SimulatedClient, SimulatedSettings
from callwise.simulator.server import SimServer

__all__ = ["measure"]

TEXTS, SPREAD_SECONDS = 1_000, 0.01
LONE = 20
CHATS = 40
TEMPERATURES = (0.2, 0.7, 1.0)
ROUTE = "/chat/completions/batch"


def _budgeter(base_url: str, batch: BatchKnobs) -> Budgeter:
    client = OpenAIClient(base_url, max_connections=64)
    return Budgeter(
        {
            Role.MAIN: Endpoint("local", MODEL, client, PRICES),
            Role.EMBED: Endpoint("vectors", "embed", client, PRICES),
        },
        limits=ROOMY,
        load=LoadKnobs(schedule=ScheduleKnobs(max_concurrency=64, max_tasks=64), batch=batch),
    )


def _text(number: int) -> Call:
    return Call(Role.EMBED, Purpose.EMBED, inputs=(f"a note of day {number}",))


def _chat(number: int) -> Call:
    temperature = TEMPERATURES[number % len(TEMPERATURES)]
    return Call(
        Role.MAIN,
        Purpose.REASON,
        (Message("user", f"What should I read on day {number}?"),),
        sampling=Sampling(temperature=temperature, max_tokens=60),
    )


async def _asked_texts() -> tuple[int, int, int, list[float]]:
    """Return requests by the log and by the ledger, wrong vectors, and waits of lone texts."""
    async with running_service(SimulatedSettings()) as service:
        budgeter = _budgeter(service.base_url, BatchKnobs())
        await budgeter.prepare()
        alone = OpenAIClient(service.base_url)
        await budgeter.ask(_text(-1))  # opens a connection

        async def ask(number: int) -> tuple[float, ...]:
            await asyncio.sleep(SPREAD_SECONDS * number / TEXTS)
            return (await budgeter.ask(_text(number))).vectors[0]

        before = len(await service.log())
        vectors = await asyncio.gather(*(ask(number) for number in range(TEXTS)))
        requests = len(await service.log()) - before
        counted = budgeter.ledger.counts().requests - 1
        wrong = 0
        for number in range(0, TEXTS, 50):
            (reply,) = await alone.answer((_text(number),), model="embed")
            wrong += reply.vectors[0] != vectors[number]
        waits = []
        for number in range(LONE):
            began = time.perf_counter()
            await alone.answer((_text(TEXTS + number),), model="embed")
            middle = time.perf_counter()
            await budgeter.ask(_text(TEXTS + number))
            waits.append(time.perf_counter() - middle - (middle - began))
        budgeter.ledger.check()
        await alone.aclose()
        await budgeter.aclose()
    return requests, counted, wrong, waits


async def _asked_chats(failing_paths: tuple[str, ...]) -> tuple[Counter[int], int, int, int, int]:
    """Return requests by their size, calls served, requests and tokens that differ from the log."""
    async with SimServer(failing_paths=failing_paths) as server:
        batch = BatchKnobs(chat_path=ROUTE, is_adaptive=False, chat_size=16)
        budgeter = _budgeter(server.base_url, batch)
        await budgeter.prepare()
        replies = await asyncio.gather(*(budgeter.ask(_chat(number)) for number in range(CHATS)))
        counts = budgeter.ledger.counts()
        budgeter.ledger.check()
        await budgeter.aclose()
        answered = [entry for entry in server.log if entry.is_answered]
    tokens = sum(entry.input_tokens + entry.output_tokens for entry in answered)
    return (
        Counter(entry.items for entry in server.log),
        len(replies),
        counts.requests - len(server.log),
        counts.input_tokens + counts.output_tokens - tokens,
        counts.unknown_usage,
    )


async def _lone_wait_seconds() -> float:
    """Return how long one text waits for others, where its answer takes no time."""
    client = SimulatedClient(SimulatedSettings(latency_scale=0.0), sleep=asyncio.sleep)
    clock = LoopClock()
    budgeter = loaded(client, LoadKnobs(batch=BatchKnobs()), clock=clock)
    began = clock.now()
    await budgeter.ask(_text(0))
    return clock.now() - began


def _text_figures() -> Iterator[Figure]:
    requests, counted, wrong, waits = asyncio.run(_asked_texts())
    least = -(-TEXTS // BatchKnobs().embedding_size)
    yield Figure(
        f"6 · {TEXTS:,} texts to embed in {SPREAD_SECONDS * 1000:g} ms: requests by the server "
        "(by the ledger), wrong vectors",
        f"{requests} ({counted}), {wrong}",
        f"{least}, 0",
        requests == counted == least and not wrong,
    )
    exact = run_in_virtual_time(_lone_wait_seconds()) * 1000
    longest, middle = max(waits) * 1000, percentile(waits, 50) * 1000
    yield Figure(
        "6 · wait of a lone text in virtual time, ms",
        f"{exact:.1f}",
        "<= 50",
        exact <= 50.0 + 1e-6,
    )
    yield Figure(
        f"6 · wait of a lone text over HTTP, median (longest of {LONE}), ms",
        f"{middle:.1f} ({longest:.1f})",
        "never > 200",
        longest <= 200,
        note="6: the wait over HTTP is the latency without that of an equal request which the "
        "client sends alone just before; it has the delays of timers and of the machine in it",
    )


def _chat_figures() -> Iterator[Figure]:
    for name, failing in (("", ()), (", each batch is answered 500", (f"/v1{ROUTE}",))):
        sizes, served, requests, tokens, unknown = asyncio.run(_asked_chats(failing))
        shown = ", ".join(f"{count} of {size}" for size, count in sorted(sizes.items()))
        groups = sum(count for size, count in sizes.items() if size > 1)
        singles = sizes[1]
        yield Figure(
            f"7 · {CHATS} chat calls with {len(TEMPERATURES)} sets of parameters{name}: requests, "
            "served, requests and tokens that differ from the log",
            f"{shown}; {served}, {requests}, {tokens}",
            f"3 groups{', then all single' if failing else ''}; {CHATS}, 0, 0",
            groups == len(TEMPERATURES)
            and singles == (CHATS if failing else 0)
            and (served, requests, tokens) == (CHATS, 0, 0),
            note=f"7{name}: {unknown} requests have unknown usage, charged by estimate",
        )


def measure() -> Measured:
    """Return how calls were put together, and what that cost a lone one."""
    return Measured("batches", [*_text_figures(), *_chat_figures()])
