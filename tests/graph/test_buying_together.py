"""Settings that are bought side by side: the same calls, counts and results as one by one."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from callwise.recordings import read_conversations
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from callwise.tuning.buying import buy
from callwise.tuning.replay_evaluator import CounterfactualEvaluator
from callwise.tuning.row import Coverage, TurnRow
from callwise.tuning.setting import Setting, make_setting
from graph.app import app


class BrokenOff(Exception):
    """Raised to end a purchase."""


def _settings(*knobs: dict[str, Any]) -> list[Setting]:
    return [make_setting("recorded", {}, each) for each in knobs]


# The first three need some calls in common.
SETTINGS = _settings(
    {"search.max_calls": 7},
    {"search.max_calls": 8},
    {"search.max_calls": 8, "search.policy": "listwise"},
    {"search.generate_k": 2},
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two conversations of one turn."""
    shipped = configs_folder() / "conversations"
    paths = [shipped / "en_moving_city.jsonl", shipped / "zh_night_shift.jsonl"]
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("balanced", ["search.max_calls=6"]),
        conversations=[each.first_turns(1) for each in read_conversations(paths).conversations],
        folder=tmp_path_factory.mktemp("recorded") / "run",
    )
    asyncio.run(run_replay(request))
    return request.folder


def _calls(run: Path) -> Counter[str]:
    """Return what was recorded, whichever call came first."""
    lines = (run / "cassette.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    documents = (each for each in map(json.loads, lines) if "key" in each)
    left_out = {"asked", "check", "common", "after", "messages"}
    return Counter(
        json.dumps({name: value for name, value in each.items() if name not in left_out})
        for each in documents
    )


def _rows(run: Path, settings: Sequence[Setting] = SETTINGS) -> list[tuple[TurnRow, ...]]:
    return [result.rows for result in CounterfactualEvaluator(run).evaluate(settings)]


def _bought(
    recorded: Path, folder: Path, concurrency: int, **caps: float
) -> tuple[Path, SpendingCap]:
    run = shutil.copytree(recorded, folder)
    budget = SpendingCap(**caps)  # type: ignore[arg-type]
    buy(CounterfactualEvaluator(run), SETTINGS, budget, max_concurrency=concurrency)
    return run, budget


@pytest.fixture(scope="module")
def one_by_one(
    recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SpendingCap]:
    """Return the run into which all was bought one conversation after another."""
    return _bought(recorded, tmp_path_factory.mktemp("one") / "run", 1)


def test_the_same_is_bought_at_any_concurrency(
    recorded: Path, tmp_path: Path, one_by_one: tuple[Path, SpendingCap]
) -> None:
    """Each call once, also where several settings need it; the results are equal."""
    alone, spent_alone = one_by_one
    run, spent = _bought(recorded, tmp_path / "run", 16)
    assert spent.calls == spent_alone.calls > 0
    assert (spent.tokens, spent.requests) == (spent_alone.tokens, spent_alone.requests)
    assert spent.usd == pytest.approx(spent_alone.usd)
    assert _calls(run) == _calls(alone)
    assert _rows(run) == _rows(alone)
    assert {row.coverage for rows in _rows(run) for row in rows} == {Coverage.EXACT}


def test_a_cap_ends_the_same_turn_at_any_concurrency(recorded: Path, tmp_path: Path) -> None:
    """What is bought under it are the calls that come first one by one, and not one more."""
    bought = []
    for concurrency in (1, 8):
        run, spent = _bought(recorded, tmp_path / str(concurrency), concurrency, max_calls=7)
        assert spent.calls == 7
        bought.append(_calls(run))
    assert bought[0] == bought[1]


def test_a_purchase_that_broke_off_goes_on_without_buying_twice(
    recorded: Path, tmp_path: Path, one_by_one: tuple[Path, SpendingCap]
) -> None:
    """Of the calls that were under way, those that were answered are recorded."""
    run = shutil.copytree(recorded, tmp_path / "run")
    first = SpendingCap()

    def break_off(progress: Any) -> None:
        if progress.turns == 2:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        buy(CounterfactualEvaluator(run), SETTINGS, first, max_concurrency=8, on_turn=break_off)
    assert first.calls > 0
    buy(CounterfactualEvaluator(run), SETTINGS, SpendingCap(), max_concurrency=8)
    assert _rows(run) == _rows(one_by_one[0])
    again = SpendingCap()
    buy(CounterfactualEvaluator(run), SETTINGS, again, max_concurrency=8)
    assert again.calls == 0


def test_settings_share_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings that ask in other words send each of their calls in one request.

    A batch is full with two, and waits for the second one longer than any test.
    """
    talk = tmp_path / "talk.jsonl"
    line = {"conversation_id": "c", "turn": 0, "user_text": "I moved to another city."}
    talk.write_text(json.dumps(line) + "\n", encoding="utf-8")
    batching = {
        "load.batch.chat_path": "/chat/completions/batch",
        "load.batch.is_adaptive": False,
        "load.batch.chat_size": 2,
        "load.batch.chat_window_seconds": 100,
        "load.batch.chat_idle_window_seconds": 100,
    }
    settings = _settings(*({"persona.name": name, **batching} for name in ("Ann", "Bob")))
    budget = SpendingCap()

    async def bought() -> list[int]:
        async with SimServer(SimulatedSettings()) as server:
            monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
            monkeypatch.setenv("CALLWISE_MODEL", "simulated")
            monkeypatch.setenv("CALLWISE_API_KEY", "none")
            request = RunRequest(
                app=app,
                app_target="graph.app:app",
                settings=app.settings("instant"),
                conversations=read_conversations([talk]).conversations,
                folder=tmp_path / "run",
            )
            await run_replay(request)
            before = len(server.log)
            evaluator = CounterfactualEvaluator(request.folder)
            await asyncio.to_thread(buy, evaluator, settings, budget, max_concurrency=2)
            return [entry.items for entry in server.log[before:]]

    assert asyncio.run(bought()) == [2, 2]
    assert (budget.calls, budget.requests) == (4, 2)
