"""`callwise tune`: from a recorded run to settings with intervals."""

import asyncio
import csv
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callwise.cli.tune_next import preset_of
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import load_app
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.recording import open_recording
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.tuning.replay_evaluator import RECORDED, settings_of
from callwise.tuning.setting import Setting
from callwise.tuning.sweep_record import load_sweep

KNOB = "search.max_calls=3,4,11"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of six conversations of two turns each, with a generous search."""
    folder = tmp_path_factory.mktemp("recorded")
    texts = ("I lost my job.", "Nobody knows yet.")
    lines = [
        {"conversation_id": f"c{number}", "turn": turn, "user_text": f"{text} ({number})"}
        for number in range(6)
        for turn, text in enumerate(texts)
    ]
    (folder / "talks.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    request = RunRequest(
        app=load_app("graph.app:app"),
        app_target="graph.app:app",
        settings=load_app("graph.app:app").settings("balanced", ["search.max_calls=11"]),
        conversations=read_conversations([folder / "talks.jsonl"]).conversations,
        folder=folder / "run",
    )
    asyncio.run(run_replay(request))
    return folder / "run"


@pytest.fixture
def run(recorded: Path) -> Path:
    """Return a copy of that run, in the test's own folder."""
    shutil.copytree(recorded, "run")
    return Path("run")


def test_a_tracker_that_is_missing_is_named_before_the_sweep(
    cli: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nothing is bought, or waited for, in vain."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    shown = cli("tune", run, "--knob", KNOB, "--log", "wandb")
    assert shown.exit_code == 2
    assert "pip install '.[wandb]'" in shown.stderr
    other = cli("tune", run, "--knob", KNOB, "--log", "neptune")
    assert (other.exit_code, "expected --log mlflow or wandb" in other.stderr) == (2, True)


def test_a_plan_takes_latencies_and_tokens_from_a_run(cli: Any, one_object: Any, run: Path) -> None:
    """And shows how long the run's turns take when they are sent once more."""
    ledger = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    judging = [row for row in ledger if row["purpose"] == "judge"]
    document = one_object(cli("plan", "--preset", "balanced", "--record", run, "--json"))
    mean = math.fsum(row["work_seconds"] for row in judging) / sum(
        row["attempts"] for row in judging
    )
    assert document["assumptions"]["latencies"]["judge"] == pytest.approx(mean)
    turns = [json.loads(line) for line in (run / "turns.jsonl").read_text().splitlines()]
    seconds = {turn["conversation_id"]: 0.0 for turn in turns}
    for turn in turns:
        seconds[turn["conversation_id"]] += turn["path_seconds"]["turn"]
    assert document["recorded"]["seconds"] == pytest.approx(max(seconds.values()), rel=0.25)
    slow = cli("plan", "--preset", "balanced", "--record", run, "--rpm", 6)
    assert f"{len(ledger):,} requests in {len(turns)} turns" in slow.stdout
    assert "waited for: requests_per_minute" in slow.stdout


def test_a_recommendation_with_its_interval(cli: Any, one_object: Any, run: Path) -> None:
    """Counts of the rows, intervals over conversations, and one sentence that says simulated."""
    document = one_object(cli("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "sweep", "--json"))
    assert (document["turns"], document["conversations"]) == (12, 6)
    assert document["simulated"] is True
    assert document["quality_by"] == "truth:simulated"
    small = document["settings"]["search.max_calls=3"]
    assert small["asked"]["mean"] == 5.0
    assert small["exact_replies"] == 12
    assert small["quality"]["low"] < small["quality"]["mean"] < small["quality"]["high"]
    assert document["settings"]["search.max_calls=11"]["exact_turns"] == 12
    assert document["recommendation"]["chosen"] in document["settings"]
    assert "imulated" in document["recommendation"]["sentence"]
    with Path("sweep/rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    own = [row for row in rows if row["setting"] == "search.max_calls=3"]
    assert {row["asked"] for row in own} == {"5"}
    assert {row["quality_by"] for row in rows if row["is_reply_exact"] == "True"} <= {
        "truth:simulated"
    }
    assert json.loads(Path("sweep/summary.json").read_text()) == {
        name: value for name, value in document.items() if name != "folder"
    }


def test_text_shows_what_is_exact_and_the_cost_of_the_rest(cli: Any, run: Path) -> None:
    """A table, the front, the recommendation, the judge, and the price of the rest."""
    result = cli("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "sweep")
    assert result.exit_code == 0, result.output
    title = "Settings on 12 turns of 6 conversations, means per turn (simulated)\n"
    assert title in result.stdout
    assert "quality: within-prompt SD, scale -2 to 2" in result.stdout
    assert "Front, cheapest first:" in result.stdout
    assert "\nJudge: search judge compared with truth:simulated\nmeasure " in result.stdout
    assert "\nwithin-prompt correlation  " in result.stdout
    assert "are not recorded: about" in result.stdout
    assert "Simulated: this proves counting" in result.stderr


def test_the_next_command_runs_the_recommended_setting(cli: Any, run: Path) -> None:
    """It is written as a preset that differs from the recorded one in its swept knob alone."""
    command = ("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "sweep", "--margin-share", 0.9)
    shown = cli(*command)
    preset = Path("sweep/recommended.yaml")
    assert preset.read_text() == "extends: balanced\nsearch:\n  max_calls: 3\n"
    assert shown.stderr.splitlines()[-3:] == [
        "Next, run the recommended setting, and keep its calls per turn:",
        f"  callwise replay run/turns.jsonl --preset {preset} --out recommended",
        "  callwise check recommended --baseline calls.json --update",
    ]
    plan = cli("plan", "--preset", preset)
    assert "preset recommended" in plan.stdout


def test_a_setting_of_a_preset_that_is_not_shipped_is_written_as_a_whole(run: Path) -> None:
    """Only the name of that preset is recorded; the file gives the same knobs without it."""
    found = open_recording(run)
    own = replace(found, given={**found.given, "preset": "mine"})
    setting = Setting("three", RECORDED, {"search.max_calls": 3})
    document = preset_of(own, setting)
    assert "extends" not in document
    Path("three.yaml").write_text(json.dumps(document))
    read = own.app.settings("three.yaml").model_dump(exclude={"preset"})
    assert read == settings_of(own, setting).model_dump(exclude={"preset"})


def test_the_next_command_buys_what_a_verdict_lacks(cli: Any, run: Path) -> None:
    """The same command, quoted for a shell, with `--buy`; of a sweep without quality, a referee."""
    command = ("tune", run, "--knob", "search.generate_k=3", "--jobs", 1, "--out", "s s")
    assert cli(*command).stderr.splitlines()[-2:] == [
        "Next, buy the replies that are not recorded:",
        "  callwise tune run --knob search.generate_k=3 --out 's s' --buy",
    ]
    alone = cli("tune", run, "--knob", "search.max_calls=11", "--jobs", 1, "--out", "alone")
    assert alone.stderr.splitlines()[-2:] == [
        "Next, keep it so:",
        "  callwise check run --baseline calls.json --update",
    ]


def test_the_same_command_goes_on_where_it_stopped(cli: Any, one_object: Any, run: Path) -> None:
    """The same command gives the same document, from the rows that stand."""
    command = ("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "sweep", "--json")
    first = one_object(cli(*command))
    before = Path("sweep/replies.jsonl").read_bytes(), tuple(load_sweep(Path("sweep")).rows)
    assert one_object(cli(*command)) == first
    after = Path("sweep/replies.jsonl").read_bytes(), tuple(load_sweep(Path("sweep")).rows)
    assert after == before


def test_what_is_bought_is_exact_from_then_on(cli: Any, one_object: Any, run: Path) -> None:
    """The price is shown, the calls are appended to the recording, nothing is bought twice."""
    command = ("tune", run, "--knob", "search.generate_k=3,4", "--jobs", 1, "--json")
    with open_cassette(run / "cassette.jsonl", CassetteMode.STRICT) as cassette:
        found = cassette.statistics().found_count
    result = cli(*command, "--buy", "--yes")
    assert "calls on 12 turns are not recorded" in result.stderr
    assert "At the recorded latencies" not in result.stderr  # they are virtual
    assert "Bought" in result.stderr
    document = one_object(result)
    assert all(each["exact_turns"] == 12 for each in document["settings"].values())
    with open_cassette(run / "cassette.jsonl", CassetteMode.STRICT) as cassette:
        assert cassette.statistics().found_count > found
    again = cli(*command, "--buy", "--yes")
    assert "nothing has to be bought" in again.stderr


def test_nothing_is_bought_without_consent(cli: Any, run: Path) -> None:
    """Without a terminal to ask at, that is an error, and the recording stays as it is."""
    before = (run / "cassette.jsonl").read_bytes()
    result = cli("tune", run, "--knob", "search.generate_k=3", "--jobs", 1, "--buy")
    assert result.exit_code == 2
    assert "standard input is no terminal; give --yes" in result.stderr
    assert (run / "cassette.jsonl").read_bytes() == before


def test_a_cap_on_purchases_binds(cli: Any, run: Path) -> None:
    """It binds all settings together, and says how to go on."""
    command = ("tune", run, "--knob", "search.generate_k=2,3", "--jobs", 1, "--buy", "--yes")
    result = cli(*command, "--max-buy-calls", 4)
    assert result.exit_code == 0, result.output
    assert "Bought 4 calls: USD unknown (no price list).\n" in result.stderr
    assert "Run the same command to go on" in result.stderr


def test_a_price_that_is_unknown_cannot_be_capped(cli: Any, run: Path) -> None:
    """Unknown is not free: the error names both ways out."""
    result = cli(
        "tune", run, "--knob", "search.generate_k=3", "--jobs", 1, "--buy", "--max-buy-usd", 1
    )
    assert result.exit_code == 2
    assert "--max-buy-calls" in result.stderr


def test_a_referee_judges_and_is_judged(cli: Any, one_object: Any, run: Path) -> None:
    """Its calls are counted and recorded; a second look costs nothing."""
    command = ("tune", run, "--knob", KNOB, "--jobs", 1, "--quality", "referee", "--out", "s")
    first = cli(*command)
    assert first.exit_code == 0, first.output
    assert "would judge" in first.stderr
    assert "Judge: referee:simulated compared with truth:simulated" in first.stdout
    again = cli(*command)
    assert "would judge" not in again.stderr
    assert again.stdout == first.stdout


@pytest.mark.slow
def test_troubles_of_a_recording_come_first(cli: Any, run: Path) -> None:
    """Settings are compared by what was recorded, dead judges and unreadable answers included."""
    turns = [json.loads(line) for line in (run / "turns.jsonl").read_text().splitlines()]
    down = {"node": "lats_search", "reason": "down", "role": "judge", "endpoint": "localhost-8001"}
    turns[0]["degraded"] = [down]
    (run / "turns.jsonl").write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    rows = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    rows[0]["is_unreadable"] = True
    (run / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = cli("tune", run, "--knob", KNOB, "--jobs", 1, "--quality", "none", "--out", "s")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[:2] == [
        "recording: 1 of 12 turns degraded: judge at localhost-8001 is down (1)",
        "recording: 1 answer unreadable, in 1 of 12 turns",
    ]


def test_a_substituted_reply_is_not_judged(cli: Any, one_object: Any, run: Path) -> None:
    """A setting whose every reply is an estimate has no score, and no own quality."""
    command = ("tune", run, "--knob", "search.generate_k=3", "--jobs", 1, "--out", "s", "--json")
    document = one_object(cli(*command))
    assert document["quality_by"] == ""
    assert document["settings"]["search.generate_k=3"]["quality"]["mean"] is None
    assert len(Path("s/scores.csv").read_text(encoding="utf-8").splitlines()) <= 1


def test_labels_count_before_everything(cli: Any, one_object: Any, run: Path) -> None:
    """A CSV of people's labels, by the reply's text."""
    turns = [json.loads(line) for line in (run / "turns.jsonl").read_text().splitlines()]
    with Path("labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["conversation", "turn", "reply", "value", "scale"])
        for turn in turns:
            writer.writerow([turn["conversation_id"], turn["turn"], turn["reply"], 4, "1-5"])
    document = one_object(
        cli("tune", run, "--knob", KNOB, "--jobs", 1, "--labels", "labels.csv", "--json")
    )
    assert document["quality_by"] == "human:labels.csv"
    assert document["settings"]["search.max_calls=11"]["quality"]["mean"] == 4.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to try"),
        (("--knob", "search.max_cals=3"), "did you mean"),
        (("--knob", "search.max_calls=-3"), "out of range"),
        (("--knob", "search.max_calls"), "expected knob=value"),
        (("--grid", "no_such"), "unknown sweep"),
        (("--knob", KNOB, "--quality", "truth", "--labels", "nobody.csv"), "nobody.csv"),
        (("--knob", KNOB, "--race"), "--race needs --buy"),
        (("--knob", KNOB, "--cluster", "nonsense"), "no dask scheduler answers at nonsense"),
        (
            ("--knob", "search.max_calls=5", "--buy", "--yes", "--race", "--quality", "none"),
            "--race needs quality",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    cli: Any, run: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Before anything runs, with the thing, the value and the way out."""
    result = cli("tune", run, *arguments, "--jobs", 1)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_folder_that_is_no_run(cli: Any, tmp_path: Path) -> None:
    """It is named, and how to make one is shown."""
    result = cli("tune", tmp_path, "--knob", KNOB)
    assert result.exit_code == 2
    assert "callwise replay" in result.stderr


@pytest.mark.slow
def test_another_sweep_in_the_folder(cli: Any, run: Path) -> None:
    """It is not written over, unless told to start over."""
    assert cli("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "s").exit_code == 0
    other = ("tune", run, "--knob", "search.max_calls=4", "--jobs", 1, "--out", "s")
    refused = cli(*other)
    assert refused.exit_code == 2
    assert "--fresh" in refused.stderr
    assert cli(*other, "--fresh").exit_code == 0


@pytest.mark.slow
def test_a_sweep_that_cannot_begin_deletes_nothing(cli: Any, run: Path) -> None:
    """--fresh starts over only once it is known that there is something to start."""
    assert cli("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "s").exit_code == 0
    before = Path("s/sweep.sqlite").read_bytes()
    wrong = cli("tune", run, "--knob", "search.max_cals=3", "--out", "s", "--fresh")
    assert wrong.exit_code == 2
    assert Path("s/sweep.sqlite").read_bytes() == before


def test_a_recording_that_cannot_be_played_deletes_no_sweep(cli: Any, run: Path) -> None:
    """--fresh starts over only once the cassette has been read; the error has a command."""
    Path("s").mkdir()
    Path("s/sweep.json").write_text("{}")
    Path("s/rows.jsonl").write_text("{}\n")
    cassette = run / "cassette.jsonl"
    _, rest = cassette.read_bytes().split(b"\n", 1)
    cassette.write_bytes(b'{"callwise_cassette":2,"key_version":1}\n' + rest)
    wrong = cli("tune", run, "--knob", KNOB, "--out", "s", "--fresh")
    assert wrong.exit_code == 2
    assert f"callwise replay CONVERSATION... --out {run.resolve()} --mode rewrite" in wrong.stderr
    assert sorted(item.name for item in Path("s").iterdir()) == ["rows.jsonl", "sweep.json"]


@pytest.mark.slow
def test_a_shipped_sweep_by_name(cli: Any, one_object: Any, run: Path) -> None:
    """Every preset next to the recording; those of other calls are missing, and say so."""
    document = one_object(cli("tune", run, "--grid", "presets", "--jobs", 1, "--json"))
    assert {"classic", "balanced", "frugal", "instant"} <= set(document["settings"])
    assert document["settings"]["instant"]["missing"]["calls"] == 24
    assert any("of a kind that the recording has none of" in each for each in document["notices"])


def test_few_conversations_have_no_interval(cli: Any, one_object: Any, talk: Path) -> None:
    """One conversation carries no verdict: a defined result with its reason."""
    cli("replay", talk, "--preset", "balanced", "--out", "one")
    document = one_object(
        cli("tune", "one", "--knob", "search.max_calls=3,6", "--jobs", 1, "--json")
    )
    small = document["settings"]["search.max_calls=3"]["quality"]
    assert small["low"] is None
    assert document["recommendation"]["chosen"] is None
    assert document["recommendation"]["way_out"].startswith("record 4 more conversations")


@pytest.mark.slow
def test_figures_are_drawn_and_cleared(cli: Any, run: Path) -> None:
    """SVG files next to the rows, the same bytes each time; starting over takes them away."""
    command = ("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "s", "--figures")
    first = cli(*command)
    assert first.exit_code == 0, first.output
    drawn = {path.name: path.read_bytes() for path in Path("s/figures").iterdir()}
    assert set(drawn) == {
        "calls_by_node.svg",
        "quality_by_calls.svg",
        "quality_by_tokens.svg",
    }
    assert b"simulated" in drawn["quality_by_calls.svg"]
    assert cli(*command, "--fresh").exit_code == 0
    assert {path.name: path.read_bytes() for path in Path("s/figures").iterdir()} == drawn


def _judged(folder: str) -> int:
    """Return how many scores a referee gave."""
    lines = Path(folder, "scores.csv").read_text(encoding="utf-8").splitlines()
    return sum("referee" in line for line in lines[1:])


@pytest.mark.slow
def test_a_cap_on_purchases_binds_the_referee_too(cli: Any, run: Path) -> None:
    """What judging costs is bought: one call allowed is one call made, and the rest goes on."""
    command = ("tune", run, "--knob", KNOB, "--jobs", 1, "--quality", "referee", "--out", "s")
    first = cli(*command, "--max-buy-calls", 1)
    assert first.exit_code == 0, first.output
    assert "with 1 calls to buy" in first.stderr
    assert _judged("s") == 1
    second = cli(*command, "--max-buy-calls", 2)
    assert second.exit_code == 0, second.output
    assert _judged("s") == 3


@pytest.mark.slow
def test_settings_and_referee_draw_from_one_cap(cli: Any, run: Path) -> None:
    """What the settings were bought with is not there for the referee again."""
    command = ("tune", run, "--knob", "search.generate_k=2,3", "--jobs", 1, "--out", "s")
    result = cli(*command, "--quality", "referee", "--buy", "--yes", "--max-buy-calls", 4)
    assert result.exit_code == 0, result.output
    assert "Bought 4 calls" in result.stderr
    assert _judged("s") == 0


def test_a_cap_in_usd_that_cannot_bind_a_referee_is_refused_before_anything_is_bought(
    cli: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prices are unknown: nothing is swept, sent or paid, and both ways out are named."""
    monkeypatch.setenv("CALLWISE_REFEREE_MODEL", "judge")
    monkeypatch.setenv("CALLWISE_REFEREE_BASE_URL", "http://127.0.0.1:9/v1")
    before = (run / "cassette.jsonl").read_bytes()
    command = ("tune", run, "--knob", KNOB, "--jobs", 1, "--out", "s", "--quality", "referee")
    result = cli(*command, "--buy", "--yes", "--max-buy-usd", 1)
    assert result.exit_code == 2
    assert "CALLWISE_REFEREE_USD_PER_MILLION" in result.stderr
    assert "--max-buy-calls" in result.stderr
    assert (run / "cassette.jsonl").read_bytes() == before
    assert not Path("s").exists()
