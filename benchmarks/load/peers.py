"""The same 200 calls through peers and through the budgeter, one after another.

40 of the calls are equal, all are asked concurrently at temperature 0, and the service allows so
many requests per minute and answers a part of the requests 429 whatever comes. A wrong answer
is one that the service would not have given to that call alone. The server's log decides what
was sent; spending is what the client reports, compared with the price of what was answered.

Peers run in an environment of their own, which the variable `CALLWISE_PEERS` names (default
`.venv-peers`): `python -m venv ENV; ENV/bin/pip install litellm inspect-ai openai redis`.
"""

import asyncio
import json
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.service import running_service, text_for
from callwise.budget import Budgeter, Limits
from callwise.calls import Call, Endpoint, Message, Prices, Priority, Purpose, Role, Sampling
from callwise.calls.errors import CallError
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.reply import ReportedUsage
from callwise.calls.retry import RetryPolicy
from callwise.calls.wire import chat_body
from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedAnswer, prompt_tokens
from callwise.simulator.server_responses import chat_response
from callwise.simulator.service_limits import SimulatedLimits
from tests.callwise.budget.batch_api.provider import BatchProvider

__all__ = ["Asked", "Run", "expected_texts", "measure", "task"]

CALLS, EQUAL = 200, 40
MODEL, SEED = "gpt-4o-mini", 0
"""A name that peers know: for others they leave fields out."""
MAX_TOKENS = 60
PRICES = Prices(0.5, 1.5)
LIMITS = SimulatedLimits(requests_per_minute=600, burst_seconds=5.0)
"""50 requests immediately, then 10 per second."""
SETTINGS = SimulatedSettings(
    seed=SEED,
    error_rate_429=0.05,
    retry_after_seconds=1.0,
    real_time_scale=0.25,
    limits=LIMITS,
)
MAX_SECONDS = 240.0
SCRIPTS = Path(__file__).parent / "peer_scripts"


BATCH = {"size": CALLS, "send_delay": 2.0, "tick": 2.0}
"""Batches of all calls, sent 2 seconds after the last one and asked about each 2 seconds."""


class Asked(NamedTuple):
    """The outcome of one call.

    Args:
        text: its answer; None when it has none.
        usd: what the client says it cost.
    """

    text: str | None
    error: str | None
    usd: float


class Run(NamedTuple):
    """The outcome of the calls through one client.

    Args:
        sent: requests by the server's log.
        limited: those of them that the limit refused.
        server_usd: price of what the server answered.
    """

    name: str
    outcomes: Sequence[Asked]
    seconds: float
    sent: int
    limited: int
    server_usd: float


_Ask = Callable[[str, int], Coroutine[Any, Any, tuple[list[Asked], float]]]
"""Asks the calls at a base URL, with a Redis server at a port; returns outcomes and seconds."""


def _call(number: int) -> Call:
    return Call(
        role=Role.MAIN,
        purpose=Purpose.REASON,
        messages=(
            Message("system", "You are a bookseller in a harbour town, patient and curious."),
            Message("user", f"What should I read on the crossing? It is day {number}."),
        ),
        sampling=Sampling(temperature=0.0, seed=SEED, max_tokens=MAX_TOKENS),
    )


def calls() -> list[Call]:
    """Return the calls: every fifth is the same one."""
    step = CALLS // EQUAL
    return [_call(0 if number % step == 0 else number) for number in range(CALLS)]


def expected_texts(asked: Sequence[Call]) -> list[str]:
    """Return the text that the service gives to each call alone."""
    bodies = [chat_body(call, model=MODEL) for call in asked]
    return [text_for(body["messages"], tokens=MAX_TOKENS) for body in bodies]


def task(base_url: str, redis_port: int, **options: Any) -> dict[str, Any]:
    """Return what a peer's script is given; `options` are further fields."""
    bodies = [chat_body(call, model=MODEL) for call in calls()]
    return {
        "base_url": base_url,
        "redis_port": redis_port,
        "model": MODEL,
        "seed": SEED,
        "requests_per_minute": LIMITS.requests_per_minute,
        "max_connections": 20,
        "input_usd_per_million": PRICES.input_usd_per_million,
        "output_usd_per_million": PRICES.output_usd_per_million,
        "calls": [{"messages": body["messages"], "max_tokens": MAX_TOKENS} for body in bodies],
        **options,
    }


async def _ours(base_url: str, _redis_port: int) -> tuple[list[Asked], float]:
    """Ask through the budgeter, which is told the service's limit as the peers are."""
    rate = RateLimits(
        requests_per_minute=LIMITS.requests_per_minute, burst_seconds=LIMITS.burst_seconds
    )
    load = LoadKnobs(schedule=ScheduleKnobs(max_concurrency=20, max_tasks=20), rate=rate)
    return await _through_budgeter(base_url, load)


async def _ours_in_batches(base_url: str, _redis_port: int) -> tuple[list[Asked], float]:
    """Ask through the budgeter, as background work for the provider's batch interface."""
    with tempfile.TemporaryDirectory() as folder:
        knobs = BackgroundKnobs(
            file=Path(folder) / "queue.sqlite",
            api="openai",
            discount=0.0,
            quiet_seconds=BATCH["send_delay"],
            first_poll_seconds=BATCH["tick"],
        )
        return await _through_budgeter(
            base_url, LoadKnobs(background=knobs), priority=Priority.BACKGROUND
        )


async def _through_budgeter(
    base_url: str, load: LoadKnobs, priority: Priority | None = None
) -> tuple[list[Asked], float]:
    endpoint = Endpoint("local", MODEL, OpenAIClient(base_url, api_key="none"), PRICES)
    budgeter = Budgeter(
        {Role.MAIN: endpoint},
        limits=Limits(max_calls=10**6, max_usd=10.0),
        retry=RetryPolicy(rate_limited_attempts=10),
        load=load,
    )
    await budgeter.prepare()

    async def ask(call: Call) -> tuple[str | None, str | None]:
        try:
            return (await budgeter.ask(call)).text, None
        except CallError as error:
            return None, f"{type(error).__name__}: {error}"

    began = time.perf_counter()
    asked = [replace(call, priority=priority) for call in calls()]
    answers = await asyncio.gather(*map(ask, asked))
    seconds = time.perf_counter() - began
    usd = budgeter.ledger.counts().usd
    budgeter.ledger.check()
    await budgeter.aclose()
    share = usd / len(answers)
    return [Asked(text, error, share) for text, error in answers], seconds


def _peer(script: str, python: Path, **options: Any) -> _Ask:
    """Return a function that asks through a script; `options` are further fields of its task."""

    async def ask(base_url: str, redis_port: int) -> tuple[list[Asked], float]:
        with tempfile.TemporaryDirectory() as home:
            process = await asyncio.create_subprocess_exec(
                str(python),
                str(SCRIPTS / script),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=home,
                env={"PATH": os.environ["PATH"], "HOME": home, "XDG_CACHE_HOME": home},
            )
            given = json.dumps(task(base_url, redis_port, **options)).encode()
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    out, errors = await process.communicate(given)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        lines = [line for line in out.decode().splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise RuntimeError(f"{script} gave no result:\n{errors.decode()[-2000:]}")
        result = json.loads(lines[-1].removeprefix("RESULT "))
        return [Asked(**outcome) for outcome in result["outcomes"]], result["seconds"]

    return ask


@asynccontextmanager
async def running_redis() -> AsyncIterator[int]:
    """Give the port of an empty Redis server on this machine, without persistence."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        process = await asyncio.create_subprocess_exec(
            which("redis-server") or "redis-server",
            *("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await _listening(port)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def _listening(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError(f"nothing listens at port {port}")


async def _measured(name: str, ask: _Ask) -> Run:
    async with (
        running_redis() as redis_port,
        running_service(SETTINGS, has_full_length=True) as service,
    ):
        outcomes, seconds = await ask(service.base_url, redis_port)
        log = await service.log()
    answered = [entry for entry in log if entry.is_answered]
    usd = sum(PRICES.usd(entry.input_tokens, entry.output_tokens) for entry in answered)
    limited = sum(bool(entry.limit) for entry in log)
    return Run(name, outcomes, seconds, len(log), limited, usd)


async def _measured_in_batches(name: str, ask: _Ask) -> Run:
    """Ask through a provider's batch interface: each line is a request that was sent."""
    provider = BatchProvider()

    def answer(body: Mapping[str, Any], model: str) -> dict[str, Any]:
        most = body.get("max_completion_tokens") or body["max_tokens"]
        text = text_for(body["messages"], tokens=most)
        usage = ReportedUsage(prompt_tokens(body), most, cached_tokens=0)
        simulated = SimulatedAnswer(text, usage, 0.0, "stop")
        used.append(PRICES.usd(usage.input_tokens or 0, most))
        return chat_response(simulated, model=model, request_id="1")

    used: list[float] = []
    provider.answer = answer
    await provider.start()
    try:
        outcomes, seconds = await ask(provider.url, 0)
    finally:
        await provider.stop()
    return Run(name, outcomes, seconds, provider.bought.total(), 0, sum(used))


def _figures(run: Run, expected: Sequence[str]) -> list[Figure]:
    errors = sum(outcome.text is None for outcome in run.outcomes)
    wrong = sum(
        outcome.text is not None and outcome.text != text
        for outcome, text in zip(run.outcomes, expected, strict=True)
    )
    usd = sum(outcome.usd for outcome in run.outcomes)
    first = next((outcome.error for outcome in run.outcomes if outcome.error), None)
    return [
        Figure(
            f"{run.name}: sent (refused by the limit) / errors / wrong answers / makespan / "
            "spend reported (answered by the server)",
            f"{run.sent} ({run.limited}) / {errors} / {wrong} / {run.seconds:.1f} s / "
            f"{usd * 1e6:.0f} ({run.server_usd * 1e6:.0f}) USD per million",
            note=f"{run.name}: first error: {first}" if first else "",
        )
    ]


def peer_python() -> Path:
    """Return the interpreter of the peers' environment; it need not exist."""
    return Path(os.environ.get("CALLWISE_PEERS", ".venv-peers")) / "bin" / "python"


def _missing(packages: Mapping[str, str]) -> str:
    python = peer_python()
    if which("redis-server") is None:
        return "there is no redis-server"
    if not python.exists():
        return f"{python} does not exist; see benchmarks/load/peers.py"
    found = list(python.parent.parent.glob("lib/python*/site-packages"))
    missing = [name for name in packages if not any((folder / name).exists() for folder in found)]
    return f"{python} has no {', '.join(missing)}" if missing else ""


def measure() -> Measured:
    """Return a row for each client."""
    missing = _missing({"litellm": "litellm", "inspect_ai": "inspect-ai"})
    if missing:
        return Measured("peers", skipped=missing)
    python = peer_python()
    expected = expected_texts(calls())
    runs = [
        asyncio.run(_measured(name, ask))
        for name, ask in (
            ("budgeter", _ours),
            ("LiteLLM Router + Redis", _peer("litellm_router.py", python)),
            ("Inspect", _peer("inspect_batch.py", python)),
        )
    ]
    runs += [
        asyncio.run(_measured_in_batches(f"{name}, provider's batch interface", ask))
        for name, ask in (
            ("budgeter", _ours_in_batches),
            (
                "Inspect with batch",
                _peer("inspect_batch.py", python, batch=BATCH, max_connections=CALLS),
            ),
        )
    ]
    return Measured("peers", [figure for run in runs for figure in _figures(run, expected)])
