"""Arms of an experiment in the pipeline: assignment, ledgers, replays, and settings that fail."""

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import callwise as cw
from callwise.calls.errors import ConfigError
from callwise.knobs import assign
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.bubble_stream import StreamsBubbles
from callwise.recordings.cassette import open_cassette
from callwise.report import RunRecord
from callwise.tuning.row import Coverage
from graph.app import app
from graph.arms import SplitSession
from tests.callwise.report.traces.conftest import receiver

__all__ = ["receiver"]

ROWS = [
    {"conversation_id": f"c{talk}", "turn": turn, "user_id": f"u{talk}", "user_text": f"Hi {turn}"}
    for talk in range(6)
    for turn in range(2)
]
ARMS = {"control": {"share": 0.5}, "small": {"share": 0.5, "set": {"search.max_calls": 3}}}
EXPERIMENT = {"experiment.name": "caps", "experiment.arms": ARMS}


def _run(folder: Path, *, cassette: Path | None = None, **knobs: Any) -> RunRecord:
    given = {**EXPERIMENT, **knobs}
    return cw.replay(
        ROWS, out=folder, preset="balanced", knobs=given, cassette=cassette, max_concurrency=3
    )


def _lines(folder: Path, name: str) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_arms_judge_answers_to_similar_calls(tmp_path: Path) -> None:
    """Each in its own turns, and in one file of what was judged."""
    asked = ("How do I reset my password?", "Please, how can I reset my password?")
    talks = [
        {"conversation_id": f"c{n}", "user_id": "ana", "turns": [{"user": asked[n // 2 % 2]}]}
        for n in range(16)
    ]
    knobs = {
        **EXPERIMENT,
        "memory.history_turns": 0,
        "cache.disk": str(tmp_path / "answers"),
        "cache.similar.fuse.check_share": 1.0,
    }
    run = cw.replay(talks, out=tmp_path / "run", preset="balanced", knobs=knobs)
    checks = [row for row in run.rows if row.purpose == "check"]
    pairs = (tmp_path / "answers.similar.jsonl").read_text().splitlines()
    assert checks
    assert len(pairs) >= len(checks)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six conversations in two arms."""
    folder = tmp_path_factory.mktemp("arms") / "run"
    _run(folder)
    return folder


def test_turns_rows_and_exchanges_have_their_arm(run: Path) -> None:
    """Each turn is answered with the knobs of its arm, which its rows and its recording name."""
    turns, rows = _lines(run, "turns.jsonl"), _lines(run, "ledger.jsonl")
    arm_of = {turn["conversation_id"]: turn["arm"] for turn in turns}
    shares = {name: arm["share"] for name, arm in ARMS.items()}
    assert arm_of == {name: assign("caps", shares, name) for name in arm_of}
    assert set(arm_of.values()) == {"control", "small"}
    assert {turn["arm"]: turn["asked"] for turn in turns} == {"control": 8, "small": 5}
    assert all(row["arm"] == arm_of[row["conversation"]] for row in rows)
    assert all(row["scope"].startswith(f"run/arm:{row['arm']}/conv:") for row in rows)
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    exchanges = [line for line in _lines(run, "cassette.jsonl") if "scope" in line]
    assert {line["scope"].split("/")[1] for line in exchanges} == {"arm:control", "arm:small"}


def test_a_strict_replay_takes_the_recorded_arms(run: Path, tmp_path: Path) -> None:
    """A replay is the run, and so it is under shares that would move every conversation."""
    again = _run(tmp_path / "again", cassette=run / "cassette.jsonl")
    assert again.rows
    moved = {"experiment.arms.control.share": 0, "experiment.arms.small.share": 1}
    _run(tmp_path / "moved", cassette=run / "cassette.jsonl", **moved)
    first, second = (_lines(tmp_path / name, "turns.jsonl") for name in ("again", "moved"))
    assert first == second
    recorded = _lines(run, "turns.jsonl")
    assert [(t["arm"], t["reply"]) for t in first] == [(t["arm"], t["reply"]) for t in recorded]


async def test_a_moved_assignment_is_noticed(run: Path, tmp_path: Path) -> None:
    """The notice is there once, and an arm that is gone is an error before anything is asked."""
    knobs = {**EXPERIMENT, "experiment.arms.control.share": 0, "experiment.arms.small.share": 1}
    settings = app.settings("balanced", knobs)
    other = {**ARMS, "large": {"share": 0.0}}
    del other["control"]
    other["small"] = {"share": 1.0}
    gone = app.settings("balanced", {"experiment.name": "caps", "experiment.arms": other})
    control = next(t for t in _lines(run, "turns.jsonl") if t["arm"] == "control")
    turn = TurnInput(control["conversation_id"], 0, "Hi 0", user_id=control["user_id"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with open_cassette(run / "cassette.jsonl") as cassette:
        async with app.open(
            settings, folder=tmp_path / "one", recorder=cassette, is_offline=True
        ) as session:
            result = await session.run_turn(turn)
            assert result.record["arm"] == "control"
            assert len(session.notices.texts) == 1
            assert "recorded in other arms" in session.notices.texts[0]
        async with app.open(
            gone, folder=tmp_path / "two", recorder=cassette, is_offline=True
        ) as session:
            with pytest.raises(ConfigError, match="arm 'control', and experiment 'caps' has"):
                await session.run_turn(turn)


async def test_the_unit_may_be_the_user(tmp_path: Path) -> None:
    """All conversations of a user have one arm; without a user each has its own."""
    settings = app.settings("instant", {**EXPERIMENT, "experiment.unit": "user"})
    async with app.open(settings, folder=tmp_path) as session:
        assert isinstance(session, SplitSession)
        of_user = {session.arm_of(TurnInput(f"c{n}", 0, "Hi", user_id="u1")) for n in range(20)}
        alone = {session.arm_of(TurnInput(f"c{n}", 0, "Hi")) for n in range(20)}
        drained = await session.drain(1.0, reason="the test ends")
    assert len(of_user) == 1
    assert alone == {"control", "small"}
    assert drained == (0, 0)


async def test_equal_conversation_ids_of_users_in_two_arms_have_two_names(tmp_path: Path) -> None:
    """Arms have ledgers apart, and no row of one is taken for that of the other."""
    settings = app.settings("instant", {**EXPERIMENT, "experiment.unit": "user"})
    async with app.open(settings, folder=tmp_path) as session:
        turns = [TurnInput("talk", 0, "Hi", user_id=f"u{number}") for number in range(6)]
        results = [await session.run_turn(turn) for turn in turns]
    assert {result.record["arm"] for result in results} == {"control", "small"}
    assert len({row["conversation"] for result in results for row in result.rows}) == len(turns)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"experiment.arms.small.set": {"search.max_cals": 3}}, "did you mean search.max_calls"),
        ({"experiment.arms.small.set": {"search.max_calls": -3}}, "out of range"),
        ({"experiment.arms.small.set": {"agent_id": "x"}}, "cannot set agent_id"),
        ({"experiment.arms.small.set": {"experiment": None}}, "cannot set experiment"),
        ({"budget.run.max_calls": 9}, "limit each arm"),
    ],
)
def test_an_arm_that_cannot_work_is_refused_before_a_run(
    knobs: dict[str, Any], message: str
) -> None:
    """The settings are not read; the error names the arm's knob."""
    with pytest.raises(ConfigError, match=message):
        app.settings("balanced", {**EXPERIMENT, **knobs})


def test_a_limit_of_the_run_is_set_by_each_arm() -> None:
    """Then each arm's ledger has its limit."""
    arms = {name: {"set": {"budget.run.max_calls": 9}} for name in ("a", "b")}
    settings = app.settings("balanced", {"experiment.name": "x", "experiment.arms": arms})
    assert settings.of_arm("a").budget.run.max_calls == 9
    assert settings.of_arm("a").experiment is None


def test_an_experiment_has_a_plan_for_each_arm() -> None:
    """The mixture has none; each arm has that of its settings."""
    settings = app.settings("balanced", EXPERIMENT)
    assert app.plan(settings) is None
    plans = {arm: app.plan(each) for arm, each in app.arms(settings).items()}
    asked = {
        arm: None if plan is None else plan.as_json()["scenarios"]["default"]["asked"]
        for arm, plan in plans.items()
    }
    assert asked == {"control": 8, "small": 5}
    assert app.is_simulated(settings)
    assert app.sending_of(settings) is None


def test_an_endpoint_that_only_a_file_names_is_refused_in_an_arm_too(tmp_path: Path) -> None:
    """What an arm's `set` names is the file's, as everything else in it."""
    preset = tmp_path / "arms.yaml"
    preset.write_text(
        "extends: balanced\n"
        "experiment:\n"
        "  name: models\n"
        "  arms:\n"
        "    control: {}\n"
        "    other: {set: {endpoints.main.base_url: 'https://api.example.org/v1',"
        " endpoints.main.model: m, endpoints.main.api_key_env: SECRET}}\n"
    )
    settings = app.settings(str(preset))
    with pytest.raises(ConfigError, match="only a file names these endpoints"):
        app.endpoints(settings.of_arm("other"), is_offline=False)


def test_a_sweep_evaluates_a_setting_on_the_turns_of_every_arm(run: Path, tmp_path: Path) -> None:
    """Turns recorded with the setting's knobs are exact, whichever arm they were of."""
    rows = cw.tune(run, tmp_path / "sweep", knobs={"search.max_calls": [3, 6]}).rows
    exact = {(row.setting, row.conversation) for row in rows if row.coverage is Coverage.EXACT}
    arm_of = {turn["conversation_id"]: turn["arm"] for turn in _lines(run, "turns.jsonl")}
    for name, arm in arm_of.items():
        assert ("search.max_calls=6", name) in exact or arm == "small"
        assert ("search.max_calls=3", name) in exact


def test_a_notebook_names_the_plans_of_arms() -> None:
    """The mixture of arms has none."""
    with pytest.raises(ConfigError, match="a plan for each arm"):
        cw.plan("balanced", EXPERIMENT)


async def test_a_turn_of_an_arm_is_shown_while_it_goes_on(tmp_path: Path) -> None:
    """Bubbles of an arm come as without a split, and its turn and rows name the arm."""
    settings = app.settings("instant", EXPERIMENT)
    async with app.open(settings, folder=tmp_path) as session:
        assert isinstance(session, StreamsBubbles)
        shown = session.astream(TurnInput("c0", 0, "Hello."))
        bubbles = [bubble async for bubble in shown]
        turn = await shown.result()
    assert bubbles == turn.record["bubbles"]
    arm = turn.record["arm"]
    assert {row["arm"] for row in turn.rows} == {arm} <= ARMS.keys()
    (tmp_path / "plain").mkdir()
    async with app.open(settings, folder=tmp_path / "plain") as session:
        assert await session.run_turn(TurnInput("c0", 0, "Hello.")) == turn
        assert isinstance(session, SplitSession)
        assert session.statistics()[arm]["ledger"]["asked"] == len(turn.rows)


def test_an_experiment_is_watched_as_one_run(tmp_path: Path) -> None:
    """One status and one text file have the calls of all arms together."""
    pytest.importorskip("prometheus_client")
    file = tmp_path / "run.prom"
    found = _run(tmp_path / "run", **{"metrics.status": True, "metrics.textfile": str(file)})
    status = json.loads((tmp_path / "run" / "status.json").read_bytes())
    assert {turn.arm for turn in found.turns} == {"control", "small"}
    assert status["asked"] == sum(each.asked for each in found.turns) == len(found.rows)
    assert status["has_ended"]
    assert f"callwise_calls_asked_total {len(found.rows)}.0" in file.read_text()


async def test_the_arms_of_an_experiment_have_one_port(tmp_path: Path) -> None:
    """Its address is stated once."""
    pytest.importorskip("prometheus_client")
    settings = app.settings("instant", {**EXPERIMENT, "metrics.port": 0})
    texts: list[str] = []
    async with app.open(settings, folder=tmp_path) as session:
        session.notices.listener = texts.append
        for number in range(6):
            await session.run_turn(TurnInput(f"c{number}", 0, "Hi"))
    (text,) = texts
    assert text.startswith("metrics: http://127.0.0.1:")


async def test_what_is_left_of_the_limits_of_arms_is_that_of_the_tightest(tmp_path: Path) -> None:
    """The least left and the most used of any arm; calls of a common queue are there once."""
    arms = {
        "a": {"share": 1.0, "set": {"budget.run.max_calls": 40}},
        "b": {"share": 0.0, "set": {"budget.run.max_calls": 50}},
    }
    settings = app.settings("instant", {"experiment.name": "caps", "experiment.arms": arms})
    async with app.open(settings, folder=tmp_path) as session:
        assert isinstance(session, SplitSession)
        first, second = (each.engine.budgeter for each in session.sessions.values())
        metrics = first.metrics(second)
        turn = await session.run_turn(TurnInput("c0", 0, "Hi"))
        asked = len(turn.rows)
        found = metrics.snapshot()
    assert found.left.calls_left == 40 - asked
    assert found.used == {"calls": pytest.approx(asked / 40)}
    assert found.counts.asked == found.totals.calls() == asked
    assert found.statistics["ledger"]["asked"] == asked


async def test_numbers_of_arms_are_read_on_their_loop_before_any_call(tmp_path: Path) -> None:
    """One loop has all arms, so what a thread reads there is of one moment."""
    settings = app.settings("instant", EXPERIMENT)
    async with app.open(settings, folder=tmp_path) as session:
        assert isinstance(session, SplitSession)
        for each in session.sessions.values():
            read_by = await asyncio.to_thread(each.engine.budgeter.owner.read, threading.get_ident)
            assert read_by == threading.get_ident()


def test_the_metrics_are_no_knob_of_an_arm() -> None:
    """They are of all arms together."""
    arms = {"a": {"set": {"metrics.status": True}}, "b": {}}
    with pytest.raises(ConfigError, match=r"cannot set metrics\.status"):
        app.settings("balanced", {"experiment.name": "x", "experiment.arms": arms})


def test_a_turn_of_an_arm_and_its_replay_have_one_trace(tmp_path, receiver) -> None:
    """Arms send spans, one per call, with the ids that a replay has again."""
    traces = {"traces.enabled": True, "traces.otlp_endpoint": receiver.url}
    found = _run(tmp_path / "run", **traces)
    first = receiver.spans
    calls = [each for each in first if each.name.startswith("chat ")]
    assert len(calls) == sum(row.purpose != "embed" for row in found.rows)
    receiver.requests.clear()
    _run(tmp_path / "again", cassette=tmp_path / "run" / "cassette.jsonl", **traces)
    second = receiver.spans
    ids = [{(each.trace_id, each.span_id) for each in spans} for spans in (first, second)]
    assert ids[0] == ids[1]


async def test_the_arms_judge_and_keep_similar_calls(tmp_path: Path, monkeypatch) -> None:
    """As a run without arms does; one that is given its past keeps nothing."""
    monkeypatch.chdir(tmp_path)
    similar = {"cache.similar.fuse.mode": "shadow", "cache.disk": "kept"}
    settings = app.settings("instant", {**EXPERIMENT, **similar})
    async with app.open(settings, folder=tmp_path) as session:
        assert isinstance(session, SplitSession)
        assert all(each.engine.similar is not None for each in session.sessions.values())

    with SqliteBackend(tmp_path / "past.sqlite") as backend:
        past = ConversationMemory(backend)
        async with app.open(settings, folder=tmp_path, memory=past) as session:
            assert isinstance(session, SplitSession)
            assert all(each.engine.similar is None for each in session.sessions.values())
