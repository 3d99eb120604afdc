"""`callwise replay` and `callwise report`: from a file to a ledger and back."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from callwise.shipped import configs_folder

KEYS = {
    "turns",
    "replies",
    "asked",
    "outcomes",
    "requests",
    "sent",
    "attempts",
    "tokens",
    "usd",
    "by_node",
    "by_role",
    "calls_per_turn",
    "rounds",
    "wall_seconds",
}
"""What scripts may rely on in the object that `--json` ends with."""


def test_json_is_one_object_with_the_promised_keys(cli: Any, one_object: Any, talk: Path) -> None:
    """One object on standard output, its counts adding up, nothing else."""
    document = one_object(cli("replay", talk, "--json"))
    assert set(document) >= KEYS
    assert (document["turns"], document["replies"]) == (3, 3)
    assert document["asked"] == sum(document["outcomes"].values())
    assert document["asked"] == sum(document["by_node"].values())
    assert document["asked"] == sum(document["by_role"].values())
    assert document["outcomes"]["served"] == document["requests"] == document["attempts"]
    assert set(document["calls_per_turn"]) == {"mean", "p50", "p95", "max"}
    assert document["calls_per_turn"]["mean"] == pytest.approx(document["asked"] / 3)
    assert document["simulated"] is True


def test_record_and_play(cli: Any, one_object: Any, talk: Path, tmp_path: Path) -> None:
    """What was recorded is played strictly: equal counts, all replayed, no folder left."""
    cassette = tmp_path / "talk.cassette.jsonl"
    first = one_object(cli("replay", talk, "--record", cassette, "--out", "first", "--json"))
    again = one_object(cli("replay", talk, "--cassette", cassette, "--json", "-c", 4))
    assert again["outcomes"]["replayed"] == again["asked"] == first["asked"]
    same = ("turns", "replies", "by_node", "by_role", "by_purpose", "tokens", "rounds", "requests")
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first",
        "talk.cassette.jsonl",
        "talk.jsonl",
    ]


def test_a_recording_is_looked_over_and_sealed(
    cli: Any, one_object: Any, talk: Path, tmp_path: Path
) -> None:
    """A damaged line ends the command with 1 and names the line; a seal makes it whole."""
    cassette = tmp_path / "c.jsonl"
    cli("replay", talk, "--record", cassette, "--normalise", "uuid", "--max-turns", "1")
    found = one_object(cli("cassette", cassette, "--json"))
    assert (found["damaged_count"], found["normalise"]) == (0, ["name uuid"])
    cassette.write_bytes(
        cassette.read_bytes().replace(b'"outcome":"served"', b'"outcome": "served"', 1)
    )

    damaged = cli("cassette", cassette)
    assert damaged.exit_code == 1
    assert "c.jsonl:2: the recorded call at byte" in damaged.stdout
    sealed = cli("cassette", cassette, "--seal")
    assert (sealed.exit_code, "with checksums" in sealed.stdout) == (0, True)
    again = one_object(cli("replay", talk, "--cassette", cassette, "--max-turns", "1", "--json"))
    assert again["sent"] == 0 < again["requests"]
    refused = cli("replay", talk, "--cassette", cassette, "--normalise", "x+")
    assert refused.exit_code == 2
    assert "give the same in the same order" in refused.stderr


def test_replies_are_equal_byte_for_byte(cli: Any, talk: Path, tmp_path: Path) -> None:
    """The replayed run's turns say what the recorded ones said."""
    cassette = tmp_path / "talk.cassette.jsonl"
    assert cli("replay", talk, "--record", cassette, "--out", "first").exit_code == 0
    assert cli("replay", talk, "--cassette", cassette, "--out", "again").exit_code == 0

    def replies(name: str) -> list[Any]:
        lines = (tmp_path / name / "turns.jsonl").read_text(encoding="utf-8").splitlines()
        return [(turn["reply"], turn["bubbles"]) for turn in map(json.loads, lines)]

    assert replies("again") == replies("first")


def test_the_same_command_goes_on_where_it_stopped(
    cli: Any, one_object: Any, talk: Path, tmp_path: Path
) -> None:
    """First some turns, then all: the folder is found again without being named."""
    part = one_object(cli("replay", talk, "--max-turns", 1, "--json"))
    whole = one_object(cli("replay", talk, "--json"))
    assert (part["turns"], whole["turns"]) == (1, 3)
    assert len(list((tmp_path / "callwise-runs").iterdir())) == 1
    fresh = one_object(cli("replay", talk, "--fresh", "--json"))
    assert fresh["asked"] == whole["asked"]
    assert fresh["outcomes"] == whole["outcomes"]


def test_a_finished_run_is_reported_or_played_again(cli: Any, one_object: Any, talk: Path) -> None:
    """A recorded run asks nothing again and says so; a strict one has the turns asked for."""
    assert cli("replay", talk, "--record", "c.jsonl", "--out", "run").exit_code == 0
    again = cli("replay", talk, "--record", "c.jsonl", "--out", "run", "--max-turns", 2)
    assert "all 2 turns were finished before; nothing was run" in again.stderr
    strict = ("replay", talk, "--cassette", "c.jsonl", "--out", "strict", "--json")
    assert one_object(cli(*strict))["turns"] == 3
    part = cli(*strict, "--max-turns", 2)
    assert one_object(part)["turns"] == 2
    assert "finished before" not in part.stderr


def test_a_real_recording_is_not_mixed_with_simulated_answers(
    cli: Any, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a simulated one with real answers; the recording stays as it is."""
    record = ("replay", talk, "--preset", "instant", "--record", "c.jsonl")
    assert cli(*record, "--max-turns", 1).exit_code == 0
    cassette = Path("c.jsonl")
    with monkeypatch.context() as real:
        real.setenv("CALLWISE_BASE_URL", "http://127.0.0.1:9/v1")
        real.setenv("CALLWISE_MODEL", "tiny")
        other = cli(*record, "--out", "other")
    assert other.exit_code == 2
    assert "was recorded with the simulated model" in " ".join(other.stderr.split())
    text = cassette.read_text("utf-8").replace('"is_simulated":true', '"is_simulated":false')
    cassette.write_text(text, encoding="utf-8")
    assert cli("cassette", cassette, "--seal").exit_code == 0
    before = cassette.read_bytes()
    for way in (record, (*record[:4], "--cassette", "c.jsonl", "--mode", "new-episodes")):
        refused = cli(*way, "--out", "again")
        assert refused.exit_code == 2
        assert "Set CALLWISE_BASE_URL and CALLWISE_MODEL" in " ".join(refused.stderr.split())
    assert cassette.read_bytes() == before


def test_a_limit_binds_from_the_command_line(cli: Any, one_object: Any, talk: Path) -> None:
    """With max_calls=5 no turn has more, every turn replies, and refusals are counted."""
    document = one_object(cli("replay", talk, "--set", "budget.turn.max_calls=5", "--json"))
    accepted = document["asked"] - document["outcomes"]["refused"]
    assert accepted <= 5 * 3
    assert document["replies"] == 3


def test_text_is_labelled_simulated(cli: Any, talk: Path) -> None:
    """Without --json a table is printed, the folder is named, and the run is marked simulated."""
    shown = cli("replay", talk)
    assert shown.exit_code == 0
    assert "simulated" in shown.stderr
    assert "callwise report" in shown.stderr
    assert "lats_search" in shown.stdout


def _check(form: str, table: str, shown: str) -> None:
    if form == "json":
        document = json.loads(shown)
        assert isinstance(document, dict if table == "all" else list)
        assert document
    elif form == "markdown":
        assert "|" in shown
    elif form == "csv":
        heads, *rows = csv.reader(io.StringIO(shown))
        assert rows
        assert {len(row) for row in rows} == {len(heads)}
    else:
        assert len(shown.splitlines()) > 2


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json"])
def test_reports_in_every_form(cli: Any, talk: Path, form: str) -> None:
    """Each table comes in each form, without an error."""
    assert cli("replay", talk, "--out", "run").exit_code == 0
    for table in ("all", "node", "role", "purpose", "turn", "plan", "time"):
        shown = cli("report", "run", "--format", form, "--table", table)
        assert shown.exit_code == 0, shown.output
        _check(form, table, shown.stdout)


def test_a_report_of_a_broken_off_run(cli: Any, talk: Path, tmp_path: Path) -> None:
    """A torn last line is left out, and the finished turns are reported."""
    assert cli("replay", talk, "--out", "run").exit_code == 0
    turns = tmp_path / "run" / "turns.jsonl"
    turns.write_bytes(turns.read_bytes()[:-30])
    shown = cli("report", "run", "--format", "json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["totals"]["turns"] == 2


@pytest.mark.slow
def test_shipped_conversations_replay(cli: Any, one_object: Any) -> None:
    """A folder of files is read to the bottom, side by side, in both languages."""
    folder = configs_folder() / "conversations"
    document = one_object(
        cli("replay", folder, "--max-turns", 16, "--max-concurrency", 4, "--json")
    )
    assert (document["turns"], document["replies"]) == (16, 16)


def test_an_endpoint_named_later_gets_another_default_folder(
    cli: Any, one_object: Any, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulated run is neither read nor continued for it."""
    one_object(cli("replay", talk, "--preset", "instant", "--max-turns", 1, "--json"))
    monkeypatch.setenv("CALLWISE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "small")
    monkeypatch.setenv("CALLWISE_API_KEY", "none")
    done = cli("replay", talk, "--preset", "instant", "--max-turns", 1, "--json")
    assert done.exit_code == 1
    assert len(list((tmp_path / "callwise-runs").iterdir())) == 2
