"""Results of other settings from a recording, compared with real runs of them."""

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.memory.snapshot_memory import SnapshotBackend, SnapshotMemory
from callwise.recordings import read_conversations
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.cassette_inspection import seal_cassette
from callwise.recordings.counterfactual import (
    CounterfactualTurn,
    ReusableCassette,
    evaluate,
    record_past,
)
from callwise.recordings.counterfactual.purchase import (
    Purchase,
    SpendingCap,
    SpendingCapReached,
    buy_turns,
)
from callwise.recordings.recording import Recording, open_recording
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from graph.app import app

PRESETS = ("classic", "classic_parallel", "balanced", "frugal", "instant", "thorough")

_EXACT_FIELDS = (
    "key", "node", "role", "purpose", "sample", "repair", "attempts", "requests", "input_tokens",
    "output_tokens", "usd", "path_seconds", "end_round", "is_speculative", "error",
)  # fmt: skip


def _record(folder: Path, preset: str, *overrides: str, turns: int = 4) -> Recording:
    """Return a recorded run of the first turns of two shipped conversations."""
    shipped = configs_folder() / "conversations"
    paths = [shipped / "en_moving_city.jsonl", shipped / "zh_night_shift.jsonl"]
    conversations = [each.first_turns(turns) for each in read_conversations(paths).conversations]
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings(preset, overrides),
        conversations=conversations,
        folder=folder,
    )
    asyncio.run(run_replay(request))
    return open_recording(folder)


def _opened(recording: Recording) -> tuple[ReusableCassette, SnapshotBackend]:
    reusable = ReusableCassette(recording.cassette)
    return reusable, asyncio.run(record_past(recording, reusable))


def _evaluated(
    recording: Recording, settings: Any, **options: Any
) -> tuple[list[CounterfactualTurn], SnapshotBackend]:
    reusable, store = _opened(recording)
    turns = asyncio.run(evaluate(recording, reusable, settings, store=store, **options))
    reusable.close()
    return turns, store


async def _run(
    recording: Recording, store: SnapshotBackend, settings: Any, folder: Path
) -> list[Any]:
    """Return each turn as a real run of a setting does it, from the recorded past."""
    async with recording.app.open(settings, folder=folder, memory=SnapshotMemory(store)) as session:
        return [await session.run_turn(turn) for turn in recording.inputs]


def _calls(rows: Sequence[Any]) -> list[list[Any]]:
    return [[row[name] for name in _EXACT_FIELDS] for row in rows]


def _assert_exact_ones_are_real(
    recording: Recording, settings: Any, folder: Path
) -> list[CounterfactualTurn]:
    turns, store = _evaluated(recording, settings)
    folder.mkdir(exist_ok=True)
    real = asyncio.run(_run(recording, store, settings, folder))
    for played, ran in zip(turns, real, strict=True):
        if played.is_reply_exact and played.record is not None:
            assert played.record["reply"] == ran.record["reply"]
            assert played.record["bubbles"] == ran.record["bubbles"]
        if played.diverged_at is None:
            assert _calls(played.rows) == _calls(ran.rows)
            assert played.record["rounds"] == ran.record["rounds"]
        elif played.record is not None:
            before = played.diverged_at - 1
            asked = sorted(played.rows, key=lambda row: row["sequence"])[:before]
            really = sorted(ran.rows, key=lambda row: row["sequence"])[:before]
            assert [row["key"] for row in asked] == [row["key"] for row in really]
    return turns


def _buy(recording: Recording, settings: Any, budget: SpendingCap, **options: Any) -> None:
    reusable, store = _opened(recording)
    with open_cassette(recording.cassette, CassetteMode.NEW_EPISODES) as cassette:
        asyncio.run(
            buy_turns(
                recording,
                Purchase(reusable, cassette, budget),
                settings,
                recording.inputs,
                store=store,
                **options,
            )
        )
    reusable.close()


def test_the_recorded_setting_is_exact(tmp_path: Path) -> None:
    """Every turn, from either past."""
    recording = _record(tmp_path / "run", "balanced")
    for past in ("recorded", "own"):
        turns, _ = _evaluated(recording, recording.settings(None), past=past)
        assert [turn.diverged_at for turn in turns] == [None] * 8
        assert [turn.record["reply"] for turn in turns] == list(recording.replies.values())


def test_a_smaller_search_reuses_a_larger_ones_calls(tmp_path: Path) -> None:
    """Its candidates and passes are the first ones of the larger search, word for word."""
    recording = _record(tmp_path / "run", "balanced", "search.max_calls=11")
    turns, _ = _evaluated(recording, recording.settings(None, ["search.max_calls=4"]))
    assert all(turn.is_reply_exact for turn in turns)
    assert {len(turn.missing) for turn in turns} <= {0, 1}


@pytest.mark.parametrize(
    "preset",
    [
        name if name in {"classic", "balanced"} else pytest.param(name, marks=pytest.mark.slow)
        for name in PRESETS
    ],
)
def test_every_preset_once_bought_is_exact_and_real(tmp_path: Path, preset: str) -> None:
    """Bought into a recording of another preset, it plays as a real run of it goes."""
    recorded = "classic" if preset != "classic" else "balanced"
    recording = _record(tmp_path / "run", recorded, turns=3)
    settings = recording.settings(preset)
    _assert_exact_ones_are_real(recording, settings, tmp_path / "before")
    _buy(recording, settings, SpendingCap())
    turns = _assert_exact_ones_are_real(recording, settings, tmp_path / "after")
    assert [turn.diverged_at for turn in turns] == [None] * 6


def _random_overrides(draw: random.Random) -> list[str]:
    choices = {
        "search.max_calls": [3, 4, 5, 6, 8, 11],
        "search.policy": ["listwise", "auto", "best_of_n", "halving", "posterior_uct"],
        "search.generate_k": [2, 4, 6],
        "search.refine": ["true", "false"],
        "search.min_gain": ["null", 0.02, 0.1],
        "search.max_passes": [1, 2, 4],
        "fuse.bookkeeping": ["true", "false"],
        "overlap": ["true", "false"],
        "processor.llm": ["auto", "never"],
        "memory.history_turns": [2, 8],
        "memory.retrieve_k": [0, 5],
        "repair.max_repairs": [0, 1],
        "budget.turn.max_calls": ["null", 5, 9],
        "budget.conversation.max_calls": ["null", 40],
    }
    names = draw.sample(sorted(choices), k=draw.randint(1, 4))
    return [f"{name}={draw.choice(choices[name])}" for name in names]


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_random_settings_are_what_a_real_run_does(tmp_path: Path, count: int) -> None:
    """Wherever a turn is marked exact: same calls, same reply. Half of them are bought first."""
    recording = _record(tmp_path / "run", "balanced", "search.max_calls=11", turns=2)
    draw = random.Random(11)
    exact = 0
    for number in range(count):
        settings = recording.settings(None, _random_overrides(draw))
        if number % 2:
            _buy(recording, settings, SpendingCap())
        turns = _assert_exact_ones_are_real(recording, settings, tmp_path / str(number))
        exact += sum(turn.diverged_at is None for turn in turns)
    assert exact >= 2 * count


def test_nothing_of_another_preset_is_missing_to_the_plan(tmp_path: Path) -> None:
    """Where no recorded call can take its place, the turn says at which call, and has no record."""
    recording = _record(tmp_path / "run", "classic", turns=1)
    turns, _ = _evaluated(recording, recording.settings("instant"))
    assert [(turn.diverged_at, turn.record) for turn in turns] == [(1, None)] * 2


def test_a_cap_stops_before_the_call_that_does_not_fit(tmp_path: Path) -> None:
    """What was bought until then is recorded, and is not bought again."""
    recording = _record(tmp_path / "run", "balanced", turns=2)
    settings = recording.settings("frugal", ["search.generate_k=3"])
    budget = SpendingCap(max_calls=3)
    with pytest.raises(SpendingCapReached, match="3 calls were bought"):
        _buy(recording, settings, budget)
    assert budget.calls == 3
    again = SpendingCap()
    _buy(recording, settings, again)
    turns, _ = _evaluated(recording, settings)
    assert all(turn.diverged_at is None for turn in turns)
    fresh = _record(tmp_path / "fresh", "balanced", turns=2)
    whole = SpendingCap()
    _buy(fresh, settings, whole)
    assert budget.calls + again.calls == whole.calls


def test_conversations_side_by_side_buy_the_same(tmp_path: Path) -> None:
    """The order of purchases changes nothing of what a setting then does."""
    played = []
    for concurrency in (1, 4):
        recording = _record(tmp_path / str(concurrency), "balanced", turns=2)
        settings = recording.settings("thorough")
        _buy(recording, settings, SpendingCap(), max_concurrency=concurrency)
        turns, _ = _evaluated(recording, settings)
        played.append([(turn.record["reply"], _calls(turn.rows)) for turn in turns])
    assert played[0] == played[1]


def test_the_own_past_is_a_whole_run_of_the_setting(tmp_path: Path) -> None:
    """Once a turn is an estimate, none after it is called exact."""
    recording = _record(tmp_path / "run", "balanced", "search.max_calls=11")
    turns, _ = _evaluated(recording, recording.settings(None, ["search.max_calls=4"]), past="own")
    by_user: dict[str, list[bool]] = {}
    for turn in turns:
        by_user.setdefault(turn.turn.user_id, []).append(turn.diverged_at is None)
    for exact in by_user.values():
        assert exact == sorted(exact, reverse=True)


def test_what_follows_an_estimate_is_one_though_all_its_calls_are_recorded(
    tmp_path: Path,
) -> None:
    """The last call of the first turn is another one; the one in its place happens to fit."""
    recording = _record(tmp_path / "run", "balanced", turns=2)
    lines = recording.cassette.read_text(encoding="utf-8").splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if "/turn:0/" in line and "evolver" in line[:300])
    key = json.loads(lines[at])["key"]
    lines[at] = lines[at].replace(key, "0" * 64, 1)
    recording.cassette.write_text("".join(lines), encoding="utf-8")
    seal_cassette(recording.cassette)
    reusable = ReusableCassette(recording.cassette)
    turns = asyncio.run(evaluate(recording, reusable, recording.settings(None), past="own"))
    user = turns[0].turn.user_id
    own = [turn for turn in turns if turn.turn.user_id == user]
    assert own[0].is_reply_exact
    assert own[0].diverged_at == len(own[0].rows)
    assert not own[1].missing
    assert (own[1].diverged_at, own[1].is_reply_exact) == (1, False)
    others = [turn for turn in turns if turn.turn.user_id != user]
    assert [turn.diverged_at for turn in others] == [None, None]


def test_a_conversations_limit_makes_later_turns_estimates(tmp_path: Path) -> None:
    """What an estimated turn spent is missing to the next one, and is not known."""
    recording = _record(tmp_path / "run", "balanced", "search.max_calls=11")
    knobs = ["search.generate_k=3", "budget.conversation.max_calls=30"]
    turns, _ = _evaluated(recording, recording.settings(None, knobs))
    assert all(turn.diverged_at == 1 for turn in turns[1:])


def test_a_run_that_no_longer_replays_is_refused(tmp_path: Path) -> None:
    """Its prompts changed, say: the error names the first difference and the way out."""
    recording = _record(tmp_path / "run", "balanced", turns=1)
    lines = recording.cassette.read_text(encoding="utf-8").splitlines(keepends=True)
    recording.cassette.write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    with pytest.raises(ConfigError, match="does not replay under its own settings"):
        _opened(recording)


def test_another_model_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording of one endpoint is not replayed as another's, and both are named."""
    recording = _record(tmp_path / "run", "balanced", turns=1)
    monkeypatch.setenv("CALLWISE_BASE_URL", "https://api.example.com/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "other-model")
    with pytest.raises(ConfigError, match=r"(?s)first difference: endpoint.*CALLWISE_BASE_URL"):
        _opened(recording)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda run: (run / "cassette.jsonl").unlink(), "is gone"),
        (lambda run: (run / "manifest.json").unlink(), "it is no run"),
        (lambda run: (run / "turns.jsonl").write_text(""), "no finished turn"),
        (lambda run: (run / "turns.jsonl").write_text('{"turn": 1}\n'), "expected a row of a run"),
        (lambda run: _edit(run, callwise_run=99), "is of format 99"),
        (lambda run: _edit(run, given=None), "which settings were given"),
    ],
)
def test_what_is_no_recording_says_why(tmp_path: Path, spoil: Any, problem: str) -> None:
    """Each with the file at fault."""
    _record(tmp_path / "run", "instant", turns=1)
    spoil(tmp_path / "run")
    with pytest.raises(FormatError, match=problem):
        open_recording(tmp_path / "run")


def _edit(run: Path, **fields: Any) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for name, value in fields.items():
        if value is None:
            del manifest[name]
        else:
            manifest[name] = value
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_another_app_is_refused(tmp_path: Path) -> None:
    """A recording belongs to the app that was run."""
    _record(tmp_path / "run", "instant", turns=1)
    with pytest.raises(ConfigError, match=r"not of 'other\.app:app'"):
        open_recording(tmp_path / "run", app="other.app:app")


def test_a_persona_comes_back_from_the_runs_folder(tmp_path: Path) -> None:
    """The folder alone is enough to ask every turn again."""
    source = tmp_path / "talk.jsonl"
    persona = {"name": "Nora", "background": "Repairs bicycles.", "speaking_style": "dry"}
    line = {"conversation_id": "c", "turn": 0, "user_text": "Hi.", "persona": persona}
    source.write_text(json.dumps(line) + "\n", encoding="utf-8")
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("instant"),
        conversations=read_conversations([source]).conversations,
        folder=tmp_path / "run",
    )
    asyncio.run(run_replay(request))
    recording = open_recording(tmp_path / "run")
    assert recording.inputs[0].persona == persona
    assert recording.inputs[0].user_id is None
    turns, _ = _evaluated(recording, recording.settings(None))
    assert turns[0].diverged_at is None
