"""`callwise tune --route`: from a recorded run to a routing table that runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.callwise.cli.conftest import recorded_run

MODELS = """
models:
  small:
    kind: simulated
    model: small
    prices: {input_usd_per_million: 1, output_usd_per_million: 3}
"""
PRICED = "endpoints={main: {kind: simulated, prices: {input_usd_per_million: 10, "
PRICED += "output_usd_per_million: 30}}}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of six conversations of one turn each, of one call each."""
    folder = tmp_path_factory.mktemp("routed")
    lines = [
        {"conversation_id": f"c{number}", "turn": 0, "user_text": "I lost my job. " * (number + 1)}
        for number in range(6)
    ]
    return recorded_run(folder, lines, "instant", PRICED)


@pytest.fixture
def run(recorded: Path) -> Path:
    """Return a copy of that run, with a file of models next to it."""
    shutil.copytree(recorded, "run")
    Path("models.yaml").write_text(MODELS, encoding="utf-8")
    return Path("run")


def test_the_recommended_table_runs_and_its_replay_decides_nothing_again(
    cli: Any, run: Path
) -> None:
    """Bought, measured, written as a preset, run from the recording, replayed strictly."""
    asked = ("tune", run, "--route", "--models", "models.yaml", "--jobs", 1, "--out", "sweep")
    shown = cli(*asked, "--buy", "--yes", "--margin-share", 0.9)
    assert shown.exit_code == 0, shown.output
    assert "Another model's answer changes the prompts after it: up to " in shown.stderr
    assert "Quality against cost, paired by turn, 95 % intervals (simulated)" in shown.stdout
    summary = json.loads(Path("sweep/summary.json").read_text())
    assert summary["recommendation"]["is_shown"] is True
    ends = {point["table"]: point["strong_call_share"] for point in summary["curve"]}
    assert (ends["weakest alone"], ends["strongest alone"]) == (0.0, 1.0)
    preset = yaml.safe_load(Path("sweep/recommended.yaml").read_text())
    assert preset["extends"] == "instant"
    entries = next(iter(preset["policies"].values()))["table"]
    assert [entry["model"] for entry in entries] == ["small", "main"]
    assert entries[0]["usd_per_call"] < entries[1]["usd_per_call"]
    assert all(0 <= e["quality_low"] <= e["quality"] <= e["quality_high"] <= 1 for e in entries)
    assert all(entry["seconds"] > 0 for entry in entries)
    again = ("replay", run / "turns.jsonl", "--preset", "sweep/recommended.yaml")
    cassette = run / "cassette.jsonl"
    for out, source in (("routed", "--record"), ("strict", "--cassette")):
        shown = cli(*again, source, cassette, "--out", out)
        assert shown.exit_code == 0, shown.output
    rows = [
        [json.loads(line) for line in Path(folder, "ledger.jsonl").read_text().splitlines()]
        for folder in ("routed", "strict")
    ]
    assert {row["sent"] for own in rows for row in own} == {0}
    assert [row.get("choice") for row in rows[0]] == [row.get("choice") for row in rows[1]]
    assert any(row.get("choice") for row in rows[0])


def test_without_the_other_models_answers_the_price_comes_first(cli: Any, run: Path) -> None:
    """Nothing is proposed from estimates, and the next command buys."""
    shown = cli("tune", run, "--route", "--models", "models.yaml", "--jobs", 1, "--out", "sweep")
    assert shown.exit_code == 0, shown.output
    assert "No table can be proposed: the replies of the other models are not recorded" in (
        shown.stderr + shown.stdout
    )
    assert (
        "--route --out sweep --models models.yaml --cost usd --buy" in shown.stderr + shown.stdout
    )
    assert not Path("sweep/recommended.yaml").exists()


def test_bad_requests_name_the_way_out(cli: Any, run: Path) -> None:
    """One model only, no price, no quality, options that do not go together, a wrong file."""
    unpriced = {"models": {"small": {"kind": "simulated", "model": "small"}}}
    Path("unpriced.yaml").write_text(yaml.safe_dump(unpriced), encoding="utf-8")
    Path("dotted.yaml").write_text("models: {gpt-4.1: {}}", encoding="utf-8")
    Path("wrong.yaml").write_text("knobs: {}", encoding="utf-8")
    for more, problem in (
        (["--route"], "one model only, so nothing can be routed"),
        (["--models", "models.yaml"], "--models needs --route"),
        (["--route", "--models", "unpriced.yaml"], "the prices of small are not known"),
        (["--route", "--models", "dotted.yaml"], "without a dot"),
        (["--route", "--models", "wrong.yaml"], "expected `models:`"),
        (["--route", "--models", "missing.yaml"], "cannot read the models"),
        (["--route", "--quality", "none"], "--route compares quality"),
        (["--route", "--buy", "--yes", "--margin-share", "1"], "'--margin-share'"),
        (["--route", "--knob", "search.max_calls=3"], "--knob does not go with --route"),
    ):
        shown = cli("tune", run, *more)
        assert shown.exit_code == 2, shown.output
        assert problem in " ".join(shown.stderr.split()), shown.stderr


def test_real_replies_without_a_judge_are_refused_before_anything_is_bought(
    cli: Any, run: Path
) -> None:
    """The hidden quality of simulated replies is known; that of real ones is not."""
    turns = [json.loads(line) for line in (run / "turns.jsonl").read_text().splitlines()]
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["simulated"] = False
    (run / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    real = "".join(json.dumps(turn | {"simulated": False}) + "\n" for turn in turns)
    (run / "turns.jsonl").write_text(real, encoding="utf-8")
    shown = cli("tune", run, "--route", "--models", "models.yaml", "--buy", "--yes")
    assert shown.exit_code == 2
    assert "give --quality referee or --labels" in " ".join(shown.stderr.split())
    assert "Bought" not in shown.stderr
