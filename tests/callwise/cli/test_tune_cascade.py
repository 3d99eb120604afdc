"""`callwise tune --cascade`: from a recorded run to a cascade that runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from callwise.calls.policies import CascadePolicy
from tests.callwise.cli.conftest import recorded_run

MODELS = """
models:
  small:
    kind: simulated
    model: small
    prices: {input_usd_per_million: 1, output_usd_per_million: 3}
"""
PRICES = {"main": (10, 30), "judge": (1, 1), "fast": (0, 0)}
PRICED = "endpoints=" + json.dumps(
    {
        role: {
            "kind": "simulated",
            "prices": {"input_usd_per_million": own[0], "output_usd_per_million": own[1]},
        }
        for role, own in PRICES.items()
    }
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of six conversations of four turns each."""
    folder = tmp_path_factory.mktemp("cascaded")
    lines = [
        {"conversation_id": f"c{at}", "turn": turn, "user_text": f"Job {at} is lost, day {turn}."}
        for at in range(6)
        for turn in range(4)
    ]
    return recorded_run(folder, lines, "frugal", PRICED)


@pytest.fixture
def run(recorded: Path) -> Path:
    """Return a copy of that run, with a file of models next to it."""
    shutil.copytree(recorded, "run")
    Path("models.yaml").write_text(MODELS, encoding="utf-8")
    return Path("run")


ASKED = ("--cascade", "--by", "judge", "--models", "models.yaml", "--jobs", 1, "--out", "sweep")


def rows_of(folder: str) -> list[dict[str, Any]]:
    """Return the ledger rows of a run."""
    return [json.loads(line) for line in Path(folder, "ledger.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_recommended_cascade_runs_and_its_replay_takes_the_same_steps(
    cli: Any, run: Path
) -> None:
    """Bought, calibrated, tested, written as a preset, run from the recording, replayed strictly.

    With one question per turn, what is computed from both models alone is what a run measures.
    """
    shown = cli("tune", run, *ASKED, "--buy", "--yes", "--margin-share", 0.5)
    assert shown.exit_code == 0, shown.output
    assert "thresholds tested on other conversations, 95 % intervals (simulated)" in shown.stdout
    summary = json.loads(Path("sweep/summary.json").read_text())
    plan = next(each for each in summary["cascades"] if each["cascade"].startswith("plan"))
    assert plan["turns"] == plan["labels"] == 24
    assert summary["chosen"] == ["fuse: small, then main", "plan: small, then main"]
    measured = summary["settings"]["plan: small, then main"]
    saved = summary["settings"]["strongest alone"]
    computed = min(plan["curve"], key=lambda point: abs(point["cost"] - measured["usd"]))
    assert measured["usd"] == pytest.approx(computed["cost"])
    assert measured["quality"]["mean"] == pytest.approx(computed["quality"]["mean"])
    assert measured["usd"] < saved["usd"]
    preset = yaml.safe_load(Path("sweep/recommended.yaml").read_text())
    assert preset["extends"] == "frugal"
    policy = CascadePolicy.model_validate(preset["policies"]["plan"])
    assert policy.models == ("small", "main")
    assert (policy.by, policy.calibration[0].labels) == ("judge", 24)
    again = ("replay", run / "turns.jsonl", "--preset", "sweep/recommended.yaml")
    for out, source in (("cascaded", "--record"), ("strict", "--cassette")):
        shown = cli(*again, source, run / "cassette.jsonl", "--out", out)
        assert shown.exit_code == 0, shown.output
    first, second = rows_of("cascaded"), rows_of("strict")
    assert {row["sent"] for row in second} == {0}
    assert [row.get("choice") for row in first] == [row.get("choice") for row in second]
    own = [row["choice"] for row in first if row.get("choice", {}).get("model") == "small"]
    assert len(own) >= 24
    assert all(0 <= choice["confidence"] <= 1 for choice in own)
    shown = cli("report", "cascaded", "--table", "models")
    assert "confidence" in shown.stdout


def test_without_the_small_models_answers_the_price_comes_first(cli: Any, run: Path) -> None:
    """Nothing is recommended from estimates, and the next command buys."""
    shown = cli("tune", run, *ASKED)
    assert shown.exit_code == 0, shown.output
    text = shown.stderr + shown.stdout
    assert "No cascade can be proposed: the replies of the other models are not recorded" in text
    assert "--cascade --out sweep --models models.yaml --by judge --cost usd --buy" in text
    assert not Path("sweep/recommended.yaml").exists()


def test_too_few_turns_show_nothing(cli: Any, run: Path) -> None:
    """And the table has the reason."""
    shown = cli("tune", run, *ASKED, "--buy", "--yes", "--max-turns", 8, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert {each["why_none"] for each in found["cascades"]} == {
        "a map needs at least 20 labels; got 8"
    }
    assert found["chosen"] == []
    assert not Path("sweep/recommended.yaml").exists()


def test_bad_requests_name_the_way_out(cli: Any, run: Path) -> None:
    """Options that do not go together, one model only, no quality."""
    for more, problem in (
        (["--cascade"], "one model only, so nothing can be routed"),
        (["--cascade", "--route"], "leave one out"),
        (["--cascade", "--cost", "tokens"], "--cascade lowers USD"),
        (["--cascade", "--past", "own"], "leave out --past own"),
        (["--cascade", "--quality", "none"], "--cascade compares quality"),
        (["--cascade", "--grid", "presets"], "--grid does not go with --cascade"),
        (["--by", "judge", "--knob", "seed=1"], "--by judge needs --cascade"),
        (["--by", "judge", "--route"], "--by judge needs --cascade"),
    ):
        shown = cli("tune", run, *more)
        assert shown.exit_code == 2, shown.output
        assert problem in " ".join(shown.stderr.split()), shown.stderr


def test_a_refused_request_keeps_the_recommendation(cli: Any, run: Path) -> None:
    """A folder that has another sweep is refused; without one, each source has its own."""
    made = Path("sweep/recommended.yaml")
    assert cli("tune", run, *ASKED, "--max-turns", 4).exit_code == 0
    made.write_text("extends: frugal\n", encoding="utf-8")
    shown = cli("tune", run, *ASKED, "--by", "agreement", "--max-turns", 4)
    assert (shown.exit_code, made.exists()) == (2, True)
    assert cli("tune", run, *ASKED, "--max-turns", 4).exit_code == 0
    assert not made.exists()
    for by in ("judge", "agreement"):
        asked = ("--cascade", "--by", by, "--models", "models.yaml", "--jobs", 1, "--max-turns", 4)
        shown = cli("tune", run, *asked)
        assert shown.exit_code == 0, shown.output
