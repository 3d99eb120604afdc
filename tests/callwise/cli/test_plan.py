"""`callwise plan`, `knobs` and `presets`: what is known before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest


def test_classic_is_sixteen(cli: Any, one_object: Any) -> None:
    """Sixteen calls, main 7, judge 6, fast 3; seven and ten on early exits."""
    document = one_object(cli("plan", "--preset", "classic", "--json"))
    assert document["preset"] == "classic"
    scenarios = document["scenarios"]
    assert scenarios["default"]["asked"] == 16
    assert scenarios["default"]["by_role"] == {"main": 7, "judge": 6, "fast": 3}
    assert scenarios["default"]["by_node"]["lats_search"] == 11
    assert scenarios["default"]["rounds"] == {"reply": 14, "turn": 16}
    assert scenarios["early_exit"]["asked"] == 7
    assert scenarios["early_exit_after_first_rollout"]["asked"] == 10
    assert scenarios["worst"]["asked"] >= 17
    for scenario in scenarios.values():
        assert {"asked", "by_role", "by_node", "by_purpose", "rounds"} <= set(scenario)
        assert {"requests", "tokens", "usd", "seconds"} <= set(scenario)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("--set", "processor.llm=always"), 17),
        (("--set", "search.rollouts=1", "--set", "search.expand_k=1"), 10),
        (("--preset", "classic_parallel"), 16),
        (("-s", "rollouts=0"), 7),
    ],
)
def test_knobs_change_the_plan(
    cli: Any, one_object: Any, arguments: tuple[str, ...], asked: int
) -> None:
    """Presets and --set change the default's calls, and nothing has to run."""
    document = one_object(cli("plan", *arguments, "--json"))
    assert document["scenarios"]["default"]["asked"] == asked


def test_latency_and_rate_make_seconds(cli: Any, one_object: Any) -> None:
    """Seconds are rounds times latency, and more where a rate limit binds."""
    document = one_object(cli("plan", "--json", "--latency-seconds", "0.5"))
    assert document["scenarios"]["default"]["seconds"] == {"reply": 7.0, "turn": 8.0}
    limited = one_object(cli("plan", "--json", "--latency-seconds", "0.5", "--rpm", "10"))
    assert limited["scenarios"]["default"]["seconds"]["turn"] > 36


def test_users_turns_and_limits_make_a_makespan(cli: Any, one_object: Any) -> None:
    """Four users of two turns at 30 requests per minute: what the bucket has not, at its rate."""
    load = ("--users", "4", "--turns", "2", "--rpm", "30", "--concurrency", "6")
    document = one_object(cli("plan", *load, "--latency", "judge=0.5", "--json"))
    assumed = document["assumptions"]
    assert (assumed["users"], assumed["turns"], assumed["concurrency"]) == (4, 2, 6)
    assert assumed["latencies"] == {"judge": 0.5}
    makespan = document["scenarios"]["default"]["makespan"]
    assert makespan["seconds"] == pytest.approx((8 * 16 - 30) * 2, rel=0.05)
    assert makespan["delayed"]["requests_per_minute"] > 80
    shown = cli("plan", *load).stdout
    assert "4 users at the same time, 2 turns each:" in shown
    tokens = one_object(cli("plan", "--users", "4", "--tpm", "20000", "--json"))
    makespan = tokens["scenarios"]["default"]["makespan"]
    assert makespan["delayed"].keys() == {"tokens_per_minute"}


@pytest.mark.parametrize("text", ["judge", "judge=", "nobody=1", "judge=-1"])
def test_a_latency_of_no_purpose_is_an_error(cli: Any, text: str) -> None:
    """It repeats what was given, or names what is out of range."""
    refused = cli("plan", "--latency", text)
    assert refused.exit_code == 2
    assert (
        text in refused.stderr or "a latency is from 0 to 86,400 seconds, got -1" in refused.stderr
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--rpm", "inf"), "--rpm"),
        (("--concurrency", "1000000"), "--concurrency"),
        (("--latency-seconds", "1e308"), "--latency-seconds"),
        (("--users", "1000000"), "users x turns is at most 10,000, got 1,000,000 x 1"),
    ],
)
def test_assumptions_out_of_range_are_errors_that_name_them(
    cli: Any, given: tuple[str, str], named: str
) -> None:
    """None of them is simulated for hours."""
    refused = cli("plan", "--rpm", "60", *given)
    assert refused.exit_code == 2
    assert named in refused.stderr


def test_a_price_makes_usd(cli: Any, one_object: Any) -> None:
    """With a price for every role the plan names USD; without one it says unknown."""
    prices = "{kind: simulated, prices: {input_usd_per_million: 1, output_usd_per_million: 2}}"
    roles = ", ".join(f"{role}: {prices}" for role in ("main", "judge", "fast"))
    document = one_object(cli("plan", "--json", "--set", f"endpoints={{{roles}}}"))
    default = document["scenarios"]["default"]
    tokens = default["tokens"]
    assert default["usd"] == pytest.approx((tokens["input"] + 2 * tokens["output"]) / 1e6)
    assert one_object(cli("plan", "--json"))["scenarios"]["default"]["usd"] is None
    assert "USD is unknown" in cli("plan").stdout


def test_the_table_shows_the_scenarios(cli: Any) -> None:
    """Without --json the same is in a table."""
    shown = cli("plan")
    assert shown.exit_code == 0
    row = next(line for line in shown.stdout.splitlines() if line.startswith("default "))
    assert row.split()[1:5] == ["16", "7", "6", "3"]
    assert "early_exit_after_first_rollout" in shown.stdout


def test_a_preset_of_ones_own(cli: Any, one_object: Any, tmp_path: Any) -> None:
    """A YAML file of knobs is a preset, named for its file, and may extend a shipped one."""
    (tmp_path / "mine.yaml").write_text("extends: classic\nsearch:\n  rollouts: 1\n")
    document = one_object(cli("plan", "--preset", "mine.yaml", "--json"))
    assert document["preset"] == "mine"
    assert document["scenarios"]["default"]["asked"] == 10


def test_presets_are_listed_with_their_calls(cli: Any) -> None:
    """Each shipped preset is listed with its planned calls and rounds."""
    lines = cli("presets").stdout.splitlines()
    assert ["classic", "16", "14", "16"] in [line.split() for line in lines]
    assert ["classic_parallel", "16", "13", "14"] in [line.split() for line in lines]


@pytest.mark.parametrize("width", [40, 80])
def test_a_plan_fits_the_terminal(cli: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Columns that do not fit are named; scenarios and their calls are always there."""
    monkeypatch.setenv("COLUMNS", str(width))
    lines = cli("plan", "--users", 3, "--rpm", 60).stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert ["early_exit", "7"] in [line.split()[:2] for line in lines]
    assert any(line.startswith("Not shown: ") for line in lines)


def test_knobs_are_listed_with_range_and_meaning(cli: Any) -> None:
    """A knob is listed with its value, its range and its effect; a word narrows the list."""
    shown = cli("knobs", "rollouts").stdout
    assert "search.rollouts = 4" in shown
    assert "0 to 64" in shown
    assert "temperature" not in shown
    every = cli("knobs").stdout
    for knob in ("processor.llm", "budget.turn.max_calls", "repair.max_repairs"):
        assert knob in every


def test_a_word_of_no_knob_is_an_error(cli: Any) -> None:
    """It is named, with the way to all."""
    shown = cli("knobs", "rolouts")
    assert shown.exit_code == 2
    assert "no knob's name contains 'rolouts'; `callwise knobs` lists all" in shown.stderr


def test_every_listed_knob_has_its_effect(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No knob is listed without a word about it; a pipe has its text in one line."""
    monkeypatch.delenv("COLUMNS")
    lines = cli("knobs").stdout.splitlines()
    for knob, words in zip(lines[::2], lines[1::2], strict=True):
        assert words.startswith("    "), knob
        assert len(words.split(". ", 1)[1]) > 10, knob


def test_the_plan_shows_the_difference_of_prefetch(cli: Any, one_object: Any) -> None:
    """An exit at the root has paid for the prefetched expansion: eight, one speculative."""
    document = one_object(cli("plan", "--preset", "classic_parallel", "--json"))
    exit_ = document["scenarios"]["early_exit"]
    assert (exit_["asked"], exit_["speculative"]) == (8, 1)
    assert json.dumps(document)


@pytest.mark.parametrize("key", ["preset", "extends"])
def test_an_own_preset_runs_what_it_names(
    cli: Any, one_object: Any, tmp_path: Path, key: str
) -> None:
    """A file that starts from `frugal` plans frugal's five calls, under the file's own name."""
    (tmp_path / "mine.yaml").write_text(f"{key}: frugal\n", encoding="utf-8")
    document = one_object(cli("plan", "--preset", tmp_path / "mine.yaml", "--json"))
    assert document["scenarios"]["default"]["asked"] == 5
    assert document["preset"] == "mine"


def test_a_preset_is_not_set_as_a_knob(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by `--set` nor by a variable: other knobs would run under its name."""
    refused = cli("plan", "--set", "preset=frugal")
    assert refused.exit_code == 2
    assert "choose it with --preset" in refused.stderr
    monkeypatch.setenv("CALLWISE__PRESET", "frugal")
    refused = cli("plan")
    assert refused.exit_code == 2
    assert "CALLWISE__PRESET" in refused.stderr


def test_a_misspelt_extends_is_named(cli: Any, tmp_path: Path) -> None:
    """What a file starts from is a known name as any knob is."""
    (tmp_path / "mine.yaml").write_text("extend: frugal\n", encoding="utf-8")
    refused = cli("plan", "--preset", tmp_path / "mine.yaml")
    assert refused.exit_code == 2
    assert "did you mean extends" in refused.stderr


def test_a_misspelt_variable_is_reported(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the commands that run."""
    monkeypatch.setenv("CALLWISE_MODLE", "x")
    assert "did you mean CALLWISE_MODEL?" in cli("plan").stderr
