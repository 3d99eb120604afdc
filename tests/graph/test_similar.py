"""Reuse of answers to similar calls in the pipeline: knobs, file, judges, replays, settings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from callwise import replay
from callwise.budget.recorder import CallOrigin, RecordedExchange
from callwise.budget.similar import SimilarKnobs
from callwise.calls import Call, CallKey, Message, Outcome, Purpose, Reply, Role
from callwise.calls.delivery import Delivery
from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.counterfactual import ReusableCassette
from callwise.recordings.counterfactual.evaluation import CounterfactualRecorder
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.report import load_run
from graph.app import app
from graph.engine import similar_of


def test_nothing_is_reused_by_default() -> None:
    """A purpose opts in; its settings have defaults."""
    assert similar_of(app.settings("classic"), is_own=True) is None
    settings = app.settings("classic", ["cache.similar.reason={}"])
    assert settings.cache.similar == {"reason": SimilarKnobs()}
    knobs = settings.cache.similar["reason"]
    assert (knobs.mode, knobs.threshold, knobs.ttl_seconds) == ("shadow", 0.95, 300)


@pytest.mark.parametrize("knob", ["judge={}", "reson={}", "reason.threshold=0.5"])
def test_a_knob_that_cannot_be_is_named(knob: str) -> None:
    """A judge never takes part, a misspelt purpose is none."""
    with pytest.raises((ConfigError, ValidationError), match=r"cache\.similar"):
        app.settings("classic", [f"cache.similar.{knob}"])


def test_what_was_judged_is_next_to_the_cache_on_disk(tmp_path: Path) -> None:
    """A bad file is named before anything is asked; a replay reads none."""
    settings = app.settings("classic", ["cache.similar.reason={}", f"cache.disk={tmp_path}/kept"])
    (tmp_path / "kept.similar.jsonl").write_text("?\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"kept\.similar\.jsonl:1"):
        similar_of(settings, is_own=True)
    assert similar_of(settings, is_own=False) is not None


async def _talk(folder: Path, *overrides: str, recorder: Any = None, offline: bool = False) -> Any:
    settings = app.settings("instant", overrides)
    async with app.open(settings, folder=folder, recorder=recorder, is_offline=offline) as session:
        turn = await session.run_turn(TurnInput("talk", None, "I lost my job."))
        return turn, session.engine.budgeter.statistics()


SAYINGS = (
    "How do I reset my password?",
    "Please, how can I reset my password?",
    "How do I reset my password, please?",
    "Hi, how do I reset my password?",
    "Hello, how can I reset my password?",
)


async def _run(folder: Path, cassette: Path | None, mode: CassetteMode) -> FinishedRun:
    """Return a run of a user who asks the same in several conversations; `detect` has judges."""
    talks = folder / "talks.jsonl"
    lines = [
        {"conversation_id": f"c{number}", "turn": 0, "user_id": "ana", "user_text": text}
        for number, text in enumerate(SAYINGS)
    ]
    talks.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("classic", ["cache.similar.detect.check_share=1"]),
        conversations=read_conversations([talks]).conversations,
        folder=folder / mode.value,
        cassette=cassette,
        mode=mode,
    )
    return await run_replay(request)


async def test_judges_are_recorded_and_reported_and_no_part_of_a_turn(tmp_path: Path) -> None:
    """A strict replay has all but their rows, and sends nothing.

    The judges are asked between turns, so that a turn costs the same whatever was asked before.
    """
    run = await _run(tmp_path, None, CassetteMode.NEW_EPISODES)
    cassette = run.folder / "cassette.jsonl"
    recorded = [json.loads(line) for line in cassette.read_text(encoding="utf-8").splitlines()]
    checks = [each for each in recorded if each.get("purpose") == "check"]
    assert len(checks) > 0
    assert {each["scope"] for each in checks} == {"run/node:similar"}
    asked = [row for row in run.rows if row["purpose"] == "check"]
    assert len(asked) == len(checks)
    again = await _run(tmp_path, cassette, CassetteMode.STRICT)
    for one, other in zip(run.turns, again.turns, strict=True):
        assert {name: one[name] for name in TOTALS} == {name: other[name] for name in TOTALS}
    assert [_of_turns(row) for row in run.rows if row not in asked] == [
        _of_turns(row) for row in again.rows
    ]
    assert {(row["outcome"], row["sent"]) for row in again.rows} == {("replayed", 0)}


TOTALS = ("reply", "asked", "requests", "input_tokens", "output_tokens", "rounds", "path_seconds")


def _of_turns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a replay repeats of a row; the judges have numbers in the order as well."""
    return {key: row[key] for key in row if key not in {"outcome", "sent", "sequence"}}


async def test_a_replay_of_a_pipeline_with_vectors_is_the_run(tmp_path: Path) -> None:
    """The vectors are calls of the turn, recorded and replayed."""
    for name in ("run", "again"):
        (tmp_path / name).mkdir()
    overrides = ("cache.similar.fuse.vectors=embed",)
    path = tmp_path / "cassette.jsonl"
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        turn, found = await _talk(tmp_path / "run", *overrides, recorder=cassette)
    assert found["embed"]["embedded"] > 0
    with open_cassette(path, CassetteMode.STRICT) as cassette:
        again, _ = await _talk(tmp_path / "again", *overrides, recorder=cassette, offline=True)
    assert again.record["reply"] == turn.record["reply"]
    assert again.record["asked"] == turn.record["asked"]


ASKED = ("How do I reset my password?", "Please, how can I reset my password?")
SHADOW = {
    "memory.history_turns": 0,
    "cache.similar.fuse.mode": "shadow",
    "cache.similar.fuse.check_share": 1.0,
}


def test_what_a_judge_of_similar_calls_costs_is_in_the_run(tmp_path: Path) -> None:
    """In its ledger and totals, outside of turns; also when the run is gone on with."""
    talks = [
        {"conversation_id": f"c{n}", "user_id": "ana", "turns": [{"user": ASKED[n % 2]}]}
        for n in range(5)
    ]
    for is_resumed in (False, True):
        if is_resumed:
            lines = (tmp_path / "turns.jsonl").read_bytes().splitlines(keepends=True)
            (tmp_path / "turns.jsonl").write_bytes(b"".join(lines[:-1]))
        run = replay(talks, tmp_path, preset="balanced", knobs=SHADOW)
        checks = [row for row in run.rows if row.purpose == "check"]
        assert checks
        assert {(row.conversation, row.turn) for row in checks} == {(None, None)}
        assert [turn.asked for turn in run.turns] == [8] * 5
        assert load_run(tmp_path).notices == ()


def _call() -> tuple[Call, CallOrigin]:
    call = Call(Role.MAIN, Purpose.REASON, (Message("user", "hi"),), share=True)
    where = CallOrigin("run/conv:c", "c", None, None, Role.MAIN, Purpose.REASON, "e", "m")
    return call, where


def _cassette(folder: Path, *, similar: str) -> ReusableCassette:
    call, where = _call()
    path = folder / "cassette.jsonl"
    delivery = Delivery(similar=similar, similarity=0.97 if similar else 0.0)
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(
            CallKey("ab" * 32),
            call,
            where,
            RecordedExchange(Outcome.CACHED, Reply("x"), delivery=delivery),
        )
    return ReusableCassette(path)


def test_other_settings_are_not_given_the_answer_to_a_similar_call(tmp_path: Path) -> None:
    """Only the recorded settings are: what was asked before decided it."""
    call, where = _call()
    key = CallKey("ab" * 32)
    reusable = _cassette(tmp_path, similar="cd" * 32)
    assert reusable.take(key, call, where, set()) is None
    found = CounterfactualRecorder(reusable).lookup(key, call, where)
    assert found.delivery.similar == "cd" * 32
    reusable.close()


def test_a_call_that_others_may_answer_makes_its_turn_inexact(tmp_path: Path) -> None:
    """Though its own answer is recorded; other purposes stay exact."""
    call, where = _call()
    reusable = _cassette(tmp_path, similar="")
    for similar, diverged_at in ((frozenset({"reason"}), 1), (frozenset({"detect"}), None)):
        player = CounterfactualRecorder(reusable, similar=similar)
        trace = player._traces["c", None] = player.open_turn("c", 0)
        player.lookup(CallKey("ab" * 32), call, where)
        assert trace.diverged_at == diverged_at
    reusable.close()
