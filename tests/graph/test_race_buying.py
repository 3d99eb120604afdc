"""Buying conversation by conversation: what is beaten is bought no further."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from callwise.recordings import read_conversations
from callwise.recordings.counterfactual.purchase import SpendingCap, SpendingCapReached
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.tuning.buying import FinishedRace, buy_racing
from callwise.tuning.replay_evaluator import CounterfactualEvaluator
from callwise.tuning.row import Coverage, TurnRow
from callwise.tuning.setting import Setting, make_setting
from graph.app import app

CONVERSATIONS = 16


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run of sixteen conversations of one turn each."""
    talks = tmp_path / "talks.jsonl"
    lines = [
        {"conversation_id": f"c{at:02d}", "turn": 0, "user_text": f"It rained {at} days."}
        for at in range(CONVERSATIONS)
    ]
    talks.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("frugal"),
        conversations=read_conversations([talks]).conversations,
        folder=tmp_path / "run",
    )
    asyncio.run(run_replay(request))
    return tmp_path / "run"


def _settings() -> tuple[Setting, ...]:
    return tuple(make_setting("recorded", {}, {"search.max_calls": cap}) for cap in (3, 5, 6))


def _race(run: Path, budget: SpendingCap, worst: str | None) -> FinishedRace:
    """Race three settings; the named one is judged worse on every turn."""

    def judge(rows: Sequence[TurnRow], texts: Mapping[str, str]) -> list[TurnRow]:
        assert {row.reply_id for row in rows if row.is_reply_exact} <= set(texts)
        return [
            replace(
                row,
                quality=(0.0 if row.setting == worst else 3.0) + hash_share(row.conversation),
                quality_by="human:test",
            )
            for row in rows
        ]

    return buy_racing(CounterfactualEvaluator(run), _settings(), budget, judge)


def hash_share(name: str) -> float:
    """Return a small difference between conversations, the same for all settings."""
    return int(name[1:]) % 7 / 100


def _exact_turns(run: Path) -> dict[str, int]:
    results = CounterfactualEvaluator(run).evaluate(_settings())
    return {
        each.setting: sum(row.coverage is Coverage.EXACT for row in each.rows) for each in results
    }


@pytest.mark.slow
def test_a_beaten_setting_is_bought_no_further(run: Path) -> None:
    """It costs more than another and is worse: no more is bought after the first comparison."""
    race = _race(run, SpendingCap(), "search.max_calls=6")
    (dropped,) = race.dropped
    assert (dropped.setting, dropped.conversations) == ("search.max_calls=6", 10)
    assert race.conversations == CONVERSATIONS
    exact = _exact_turns(run)
    assert exact["search.max_calls=5"] == CONVERSATIONS
    assert exact["search.max_calls=6"] < CONVERSATIONS


@pytest.mark.slow
def test_without_a_loser_everything_is_bought(run: Path) -> None:
    """As a plain purchase would."""
    race = _race(run, SpendingCap(), None)
    assert race.dropped == ()
    assert set(_exact_turns(run).values()) == {CONVERSATIONS}
    assert race.bought.calls > 0


def test_a_spent_cap_ends_the_race(run: Path) -> None:
    """Bought calls are kept, and it reports why it stopped."""
    race = _race(run, SpendingCap(max_calls=3), None)
    assert race.bought.calls == 3
    assert "3 calls were bought" in race.bought.stopped
    assert race.conversations == 0


@pytest.mark.slow
def test_a_race_without_anything_left_to_judge_with_ends(run: Path) -> None:
    """Bought calls are kept, no more are bought, and it reports why."""
    budget = SpendingCap()

    def judge(rows: Sequence[TurnRow], texts: Mapping[str, str]) -> list[TurnRow]:
        raise SpendingCapReached("none are left to judge with")

    race = buy_racing(CounterfactualEvaluator(run), _settings(), budget, judge)
    assert race.bought.stopped == "none are left to judge with"
    assert race.conversations == 10
    assert race.bought.calls == budget.calls > 0
