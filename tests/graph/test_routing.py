"""Routing in the pipeline: plans are upper limits, a reply always comes, replays decide nothing."""

import asyncio
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.counterfactual import ReusableCassette, evaluate, record_past
from callwise.recordings.recording import Recording, open_recording
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from graph.app import app
from graph.turn_scenarios import plan_turn

CHEAP, DEAR = (
    f"prices: {{input_usd_per_million: {input_usd}, output_usd_per_million: {output_usd}}}"
    for input_usd, output_usd in ((1, 2), (10, 40))
)
MODELS = [
    (
        f"endpoints={{main: {{kind: simulated, {CHEAP}}}, judge: {{kind: simulated, {CHEAP}}}, "
        f"fast: {{kind: simulated, {CHEAP}}}}}"
    ),
    f"models={{small: {{kind: simulated, {CHEAP}}}, large: {{kind: simulated, {DEAR}}}}}",
]
BY_LENGTH = (
    "complexity: {task: 0, messages: 0, form: 0, seconds: 0, full_tokens: 1000}, "
    "table: [{model: small, max_complexity: 0.76}, {model: large}]"
)
ROUTED = [*MODELS, f"policies={{default: {{kind: route, {BY_LENGTH}}}}}"]
TO_LARGE = [*MODELS, "policies={default: {table: [{model: large}]}}"]


def recorded(folder: Path, *overrides: str, preset: str = "balanced") -> Recording:
    """Return a recorded run of two turns."""
    path = configs_folder() / "conversations" / "en_moving_city.jsonl"
    (conversation,) = read_conversations([path]).conversations
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings(preset, overrides),
        conversations=[conversation.first_turns(2)],
        folder=folder,
    )
    asyncio.run(run_replay(request))
    return open_recording(folder)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the ledger rows of a run."""
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_a_plan_counts_each_model_with_the_calls_that_it_may_be_given(tmp_path):
    """And a run never asks more of any, nor costs more than the dearest of them."""
    settings = app.settings("balanced", ROUTED)
    plan = plan_turn(settings).as_json()["scenarios"]
    asked = plan["default"]["asked"]
    assert plan["default"]["most_by_model"] == {"small": asked, "large": asked}
    dearest = plan_turn(app.settings("balanced", TO_LARGE)).as_json()["scenarios"]["worst"]
    assert plan["worst"]["usd"] == dearest["usd"]
    assert plan["worst"]["most_by_model"]["large"] == dearest["most_by_model"]["large"]
    recorded(tmp_path / "run", *ROUTED)
    for turn in ("0", "1"):
        rows = [row for row in rows_of(tmp_path / "run") if row["turn"] == turn]
        models = Counter(row["choice"]["model"] for row in rows)
        assert len(models) == 2
        for model, count in models.items():
            assert count <= plan["worst"]["most_by_model"][model]


@pytest.mark.parametrize(
    "policy",
    [
        "{kind: cascade, models: [small, large], by: judge, judge: large, confidence: 1}",
        "{kind: cascade, models: [small, large], by: agreement}",
        "{kind: ensemble, models: [small, main, large]}",
        "{kind: ensemble, models: [small, fast], by: agreement, otherwise: large}",
    ],
)
def test_a_run_asks_and_costs_no_more_than_the_plan_of_its_policies(policy, tmp_path):
    """Where one question is put to several models, by role and by model too."""
    overrides = [*MODELS, f"policies={{default: {policy}}}"]
    plan = plan_turn(app.settings("balanced", overrides)).as_json()["scenarios"]["worst"]
    recorded(tmp_path / "run", *overrides)
    for turn in ("0", "1"):
        rows = [row for row in rows_of(tmp_path / "run") if row["turn"] == turn]
        accepted = [row for row in rows if row["outcome"] != "refused"]
        assert len(accepted) <= plan["asked"]
        assert math.fsum(row["usd"] for row in accepted) <= plan["usd"]
        for counted, most in (
            (Counter(row["role"] for row in accepted), plan["by_role"]),
            (Counter(row["choice"]["model"] for row in accepted), plan["most_by_model"]),
        ):
            assert all(count <= most[name] for name, count in counted.items())


def test_a_plan_of_unpriced_models_has_no_price():
    """Unknown is not free."""
    unpriced = "models={small: {kind: simulated}}"
    policies = "policies={judge: {table: [{model: small}, {model: judge}]}}"
    plan = plan_turn(app.settings("balanced", [MODELS[0], unpriced, policies]))
    scenario = plan.as_json()["scenarios"]["default"]
    assert scenario["usd"] is None
    assert scenario["unpriced_roles"] == ["small"]
    assert set(scenario["most_by_model"]) == {"small", "judge"}


def test_a_routed_run_replays_strictly_and_exactly(tmp_path):
    """Every row the same, and every turn under equal settings exact; another table diverges."""
    recording = recorded(tmp_path / "run", *ROUTED)
    cassette = ReusableCassette(recording.cassette)
    store = asyncio.run(record_past(recording, cassette))
    same = asyncio.run(evaluate(recording, cassette, recording.settings(None), store=store))
    assert [turn.diverged_at for turn in same] == [None, None]
    own = [row for turn in same for row in turn.rows]
    assert [row["choice"] for row in own] == [row["choice"] for row in rows_of(tmp_path / "run")]
    other = asyncio.run(
        evaluate(recording, cassette, app.settings("balanced", TO_LARGE), store=store)
    )
    assert all(turn.diverged_at is not None for turn in other)
    assert {row["choice"]["model"] for turn in other for row in turn.rows} == {"large"}
    cassette.close()


@pytest.mark.parametrize("preset", ["balanced", "instant", "classic"])
@pytest.mark.parametrize("limit", [0.01, 0.08])
def test_a_turn_without_budget_ends_in_a_reply_of_the_dearest_model(preset, limit, tmp_path):
    """What is held back for the reply is the price of the dearest that may write it."""
    overrides = [*TO_LARGE, f"budget.turn.max_usd={limit}", "reply.on_outage=fallback"]
    overrides[1] = (
        "policies={default: {table: [{model: small, max_complexity: 0}, {model: large}]}}"
    )
    overrides.insert(1, MODELS[1])

    async def run() -> Any:
        async with app.open(app.settings(preset, overrides), folder=tmp_path) as session:
            return await session.run_turn(TurnInput("talk", None, "I lost my job this morning."))

    turn = asyncio.run(run())
    assert turn.record["reply"]
    assert sum(row["usd"] or 0.0 for row in turn.rows) <= limit
    if limit == 0.08:
        served = [row for row in turn.rows if row["outcome"] == "served"]
        assert served
        assert {row["choice"]["model"] for row in served} == {"large"}


def test_another_budget_decides_again_where_the_table_saves(tmp_path):
    """Under the recorded limits a turn is exact; with more calls left it asks other models."""
    saving = "{kind: route, save_below: 0.5, min_quality: 0.5, table: [{model: small}, "
    policies = f"policies={{default: {saving}{{model: large, quality: 0.9}}]}}}}"
    limited = [*MODELS, policies, "budget.turn.max_calls=10"]
    recording = recorded(tmp_path / "run", *limited)
    models = {row["choice"]["model"] for row in rows_of(tmp_path / "run")}
    assert models == {"small", "large"}
    cassette = ReusableCassette(recording.cassette)
    store = asyncio.run(record_past(recording, cassette))
    for limit, is_exact in ((10, True), (30, False)):
        settings = app.settings("balanced", [*limited[:-1], f"budget.turn.max_calls={limit}"])
        turns = asyncio.run(evaluate(recording, cassette, settings, store=store))
        assert [turn.diverged_at is None for turn in turns] == [is_exact, is_exact]
    cassette.close()


def test_embeddings_have_no_policy():
    """It would never apply."""
    with pytest.raises(ConfigError, match="embeddings stay with one model"):
        app.settings("balanced", ["policies={embed: {table: [{model: main}]}}"])


def test_a_table_of_unknown_models_is_refused_with_the_settings():
    """Before anything runs, naming what there is."""
    with pytest.raises(ConfigError, match="names the model 'medium', and there are: main"):
        app.settings("balanced", ["policies={judge: {table: [{model: medium}]}}"])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            "policies={judge: {kind: cascade, models: [fast, main], by: judge, judge: wise}}",
            "names the model 'wise'",
        ),
        (
            "policies={judge: {kind: ensemble, models: [main, fast], by: agreement, otherwise: w}}",
            "names the model 'w'",
        ),
        ("models={main: {}}", "cannot be named 'main'"),
        ('models={"a\\nb": {}}', "cannot be named"),
        (
            "policies={judge: {table: [{model: main, max_complexity: 2}]}}",
            r"^policies\.judge\.table\.0\.max_complexity=2: out of range \(allowed: 0.0 to 1.0\)$",
        ),
        ("policies={judge: {}}", r"^policies\.judge\.table must be given$"),
        (
            "policies={judge: {kind: cascade, models: [main]}}",
            r"^policies\.judge\.models=\['main'\]: tuple should have at least 2",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_settings(given, problem):
    """By the path that the user has written, and nothing of what follows from it."""
    with pytest.raises(ConfigError, match=problem):
        app.settings("balanced", [given])


def test_what_is_held_back_is_the_price_of_every_model_whose_answer_may_be_taken():
    """The one that answers where too few agree is one of them; a judge's check is none."""
    policy = "{kind: ensemble, models: [small, fast], by: agreement, otherwise: large}"
    settings = app.settings("balanced", [*MODELS, f"policies={{default: {policy}}}"])
    judged = settings.policies["default"]
    assert (judged.answering, judged.asked) == (("small", "fast", "large"),) * 2
    cascade = app.settings(
        "balanced",
        [*MODELS, "policies={default: {kind: cascade, models: [small, main], by: judge}}"],
    ).policies["default"]
    assert (cascade.answering, cascade.asked) == (("small", "main"), ("small", "main", "judge"))
