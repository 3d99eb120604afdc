"""`callwise tune --buy --batch`: what settings lack is bought by a provider's batch interface."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from callwise.simulator import SimulatedSettings
from callwise.simulator.model import SimulatedModel, body_digest
from callwise.simulator.server_responses import chat_response
from tests.callwise.budget.batch_api.provider import BatchProvider

QUICK = (
    *("-s", "load.background.file=elsewhere.sqlite"),
    *("-s", "load.background.quiet_seconds=0.01"),
    *("-s", "load.background.first_poll_seconds=0.01"),
    *("-s", "load.background.max_poll_seconds=0.01"),
)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchProvider]:
    """Yield a provider whose model is the simulated one, as the environment's endpoint."""
    model = SimulatedModel(settings=SimulatedSettings())

    def answer(body: Mapping[str, Any], name: str) -> dict[str, Any]:
        digest = body_digest(body)
        return chat_response(model.answer(body, 0, digest=digest), model=name, request_id="1")

    server = BatchProvider()
    server.answer = answer
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    url = asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
    monkeypatch.setenv("CALLWISE_BASE_URL", url)
    monkeypatch.setenv("CALLWISE_MODEL", "model-1")
    yield server
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=60)
    loop.close()


@pytest.fixture
def run(cli: Any, talk: Path, provider: BatchProvider) -> Path:
    """Return a recorded run of a small setting."""
    recorded = cli("replay", talk, "-p", "frugal", "--max-turns", 2, *QUICK, "--out", "run")
    assert recorded.exit_code == 0, recorded.output
    return Path("run")


def test_missing_calls_are_bought_in_batches_at_half_the_price(
    cli: Any, run: Path, provider: BatchProvider
) -> None:
    """Nothing is sent by itself, and the requests, tokens and price of the batches are printed."""
    provider.log.clear()
    provider.bought.clear()
    command = ("tune", run, "--knob", "search.max_calls=4", "--jobs", 1, "--quality", "none")
    result = cli(*command, "--buy", "--yes", "--batch")
    assert result.exit_code == 0, result.output
    assert "a batch costs about half of it" in result.stderr
    assert "POST /chat/completions" not in provider.log
    created = provider.log.count("POST /batches")
    bought = sum(provider.bought.values())
    assert created > 0
    assert f"Bought {bought} calls in {len(provider.log)} requests" in result.stderr
    assert (run / "cassette.jsonl").read_text(encoding="utf-8").count('"discount":0.5') == bought
    assert (run / "batches.sqlite").is_file()
    assert not Path("elsewhere.sqlite").exists()
    again = cli(*command, "--buy", "--yes", "--batch")
    assert "nothing has to be bought" in again.stderr
    assert sum(provider.bought.values()) == bought


def test_settings_are_bought_in_the_same_batches(
    cli: Any, run: Path, provider: BatchProvider
) -> None:
    """Those that need a call in common have it bought once; one of them may be done before."""
    command = ("tune", run, "--knob", "search.max_calls=4,6", "--jobs", 1, "--quality", "none")
    provider.bought.clear()
    result = cli(*command, "--buy", "--yes", "--batch")
    assert result.exit_code == 0, result.output
    assert "nothing has to be bought" in cli(*command, "--buy", "--yes", "--batch").stderr
    questions = [orjson.dumps(each) for each in provider.questions]
    assert len(questions) == len(set(questions)) == sum(provider.bought.values())


def test_a_batch_needs_a_purchase(cli: Any, run: Path) -> None:
    """It changes how calls are bought, and buys none."""
    result = cli("tune", run, "--knob", "search.max_calls=4", "--batch")
    assert result.exit_code == 2
    assert "--batch needs --buy" in result.stderr


def test_a_purchase_that_was_stopped_buys_nothing_twice(
    cli: Any, run: Path, provider: BatchProvider
) -> None:
    """A batch that was submitted before the stop is fetched by the same command."""
    command = ("tune", run, "--knob", "search.max_calls=4", "--jobs", 1, "--quality", "none")
    provider.bought.clear()
    provider.faults = lambda method, path: (
        web.Response(status=401) if path.startswith("/batches/") else None
    )
    stopped = cli(*command, "--buy", "--yes", "--batch")
    assert stopped.exit_code != 0
    assert len(provider.batches) == 1
    provider.faults = lambda _method, _path: None
    result = cli(*command, "--buy", "--yes", "--batch")
    assert result.exit_code == 0, result.output
    assert "nothing has to be bought" in cli(*command, "--buy", "--yes", "--batch").stderr
    sizes = [each["request_counts"]["total"] for each in provider.batches]
    questions = [orjson.dumps(each) for each in provider.questions]
    assert sum(sizes) == len(questions) == len(set(questions))


@pytest.mark.slow
def test_a_batch_is_not_bought_under_a_limit_on_time(
    cli: Any, talk: Path, provider: BatchProvider
) -> None:
    """It would end each call before its batch; the error names the limit."""
    limited = ("-s", "budget.turn.max_seconds=60")
    recorded = cli("replay", talk, "-p", "frugal", "--max-turns", 1, *limited, "--out", "run")
    assert recorded.exit_code == 0, recorded.output
    result = cli("tune", "run", "--knob", "search.max_calls=4", "--buy", "--yes", "--batch")
    assert result.exit_code == 2
    assert "budget.turn.max_seconds=60: a batch may take a day" in result.stderr
    assert not provider.batches
