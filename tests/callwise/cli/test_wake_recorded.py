"""`callwise wake --out`, `--cassette` and `--messages`: recorded runs and recorded chats."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

AGENTS = """
models:
  one: {model: first}
  two: {model: second}
wake: {fallback: everyone, intent_daily_calls: 1, every_seconds: %s}
agents:
  - {id: ann, persona: A baker., model: one}
  - {id: ben, persona: A diver., model: one}
  - {id: cem, persona: A poet., model: two}
messages:
  - {author: Mia, text: "@ben are you there?", after_seconds: 0.3}
"""

FILES = ("wakes.jsonl", "messages.jsonl")


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """Return a file of three agents on two models."""
    path = tmp_path / "agents.yaml"
    path.write_text(AGENTS % 3600, encoding="utf-8")
    return path


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """Return a chat of people with clock times, one of them called as an agent."""
    said = [
        ("10:50", "Mia", "hello"),
        ("10:55", "ann", "ben: are you there?"),
        ("11:30", "Jo", "no"),
        (None, None, "Jo has left"),
    ]
    lines = [json.dumps({"time": time, "nick": nick, "text": text}) for time, nick, text in said]
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def assert_same(first: Path, second: Path) -> None:
    """Check that two folders have the same reports and messages."""
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_recorded_day_is_replayed_byte_for_byte(cli: Any, agents: Path, tmp_path: Path) -> None:
    """From the folder or the cassette in it; what is printed is the same too."""
    recorded = cli("wake", agents, "--hours", 5, "--out", "run", "--chat")
    assert recorded.exit_code == 0, recorded.output
    for number, cassette in enumerate(("run", "run/cassette.jsonl")):
        again = cli("wake", agents, "--cassette", cassette, "--out", f"again{number}", "--chat")
        assert again.exit_code == 0, again.output
        assert again.stdout == recorded.stdout
        assert re.search(r"1\d calls played, 0 requests sent", again.stderr)
        assert_same(tmp_path / "run", tmp_path / f"again{number}")


@pytest.mark.slow
def test_a_run_of_real_models_is_replayed_without_them(
    cli: Any, agents: Path, tmp_path: Path, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server, no key, no variable of the environment; and no time passes."""
    quick = AGENTS.replace("wake: {", "wake: {delay_seconds: [0.1, 0.4], ")
    agents.write_text(quick % 1, encoding="utf-8")
    server = serving(real_time_scale=0.05)
    monkeypatch.setenv("CALLWISE_API_KEY", "sk-planted-0123456789")
    recorded = cli("wake", agents, "--hours", 3, "--now", "--out", "run", "--json")
    assert recorded.exit_code == 0, recorded.output
    sent = len(server.log)
    for name in list(os.environ):
        if name.startswith("CALLWISE_") and name != "CALLWISE_DATA":
            monkeypatch.delenv(name)
    again = cli("wake", agents, "--cassette", "run", "--out", "again", "--json")
    assert again.exit_code == 0, again.output
    assert again.stdout == recorded.stdout
    assert_same(tmp_path / "run", tmp_path / "again")
    assert len(server.log) == sent > 3
    for path in (tmp_path / "run").iterdir():
        assert b"sk-planted" not in path.read_bytes()


def test_a_replay_of_a_stopped_run_names_what_had_not_ended(
    cli: Any, agents: Path, tmp_path: Path
) -> None:
    """The message had come, and its report had not; of a whole run nothing is said."""
    cli("wake", agents, "--hours", 2, "--out", "run")
    assert "was stopped" not in cli("wake", agents, "--cassette", "run").stderr
    times = tmp_path / "run" / "times.jsonl"
    lines = times.read_bytes().splitlines(keepends=True)
    times.write_bytes(b"".join(line for line in lines if b'"end:@' not in line))
    shown = cli("wake", agents, "--cassette", "run", "--out", "again")
    assert shown.exit_code == 0, shown.output
    assert "had begun and not ended (1) are replayed" in shown.stderr
    reports, messages = ((tmp_path / "again" / name).read_bytes() for name in FILES)
    assert reports.count(b"\n") == 2
    assert messages == (tmp_path / "run" / "messages.jsonl").read_bytes()


def test_a_miss_ends_the_replay_with_the_difference(cli: Any, agents: Path) -> None:
    """Nothing is sent, and no table is printed as if it were a result."""
    cli("wake", agents, "--hours", 2, "--out", "run")
    agents.write_text((AGENTS % 3600).replace("A diver.", "A miner."), encoding="utf-8")
    shown = cli("wake", agents, "--cassette", "run")
    assert shown.exit_code != 0
    assert not shown.stdout
    assert "A diver." in shown.stderr
    assert "A miner." in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cassette", "none"), "--out DIR"),
        (("--cassette", "run", "--store", "x.sqlite"), "no --store"),
        (("--cassette", "run", "--now"), "no --now"),
        (("--cassette", "run", "--hours", "9"), "2 finished hours, not 9"),
        (("--cassette", "run", "--messages", "chat.jsonl"), "other messages"),
        (("--cassette", "run", "--compare"), "--compare"),
        (("--out", "run"), "has something in it"),
        (("--out", "new", "--compare"), "--compare"),
        (("--out", "agents.yaml"), "agents.yaml"),
        (("--messages", "none.jsonl"), "none.jsonl"),
        (("--messages", "empty.jsonl"), "is empty"),
    ],
)
def test_options_that_cannot_work_are_refused(
    cli: Any, agents: Path, chat: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Before anything is asked."""
    cli("wake", agents, "--hours", 2, "--out", "run")
    chat.with_name("empty.jsonl").touch()
    shown = cli("wake", agents, *arguments)
    assert shown.exit_code == 2, shown.output
    assert words in shown.stderr
    assert not shown.stdout


def test_people_write_a_recorded_chat(
    cli: Any, one_object: Any, agents: Path, chat: Path, tmp_path: Path
) -> None:
    """At its times from the start on, for as many hours as it needs; a replay needs it again."""
    command = ("wake", agents, "--messages", chat, "--json")
    recorded = cli(*command, "--out", "run")
    (run,) = one_object(recorded)["runs"]
    start = run["wakes"][0]["at"]
    people = [
        (each["author"], each["text"], each["at"] - start)
        for each in run["messages"]
        if each["author"] in {"Mia", "Jo", "ann (person)"}
    ]
    assert people == [
        ("Mia", "hello", 0.0),
        ("ann (person)", "ben: are you there?", 300.0),
        ("Jo", "no", 2400.0),
    ]
    assert [(each["is_message"], each["at"] - start) for each in run["wakes"]] == [
        (False, 0.0),
        (True, 300.0),
        (False, 3600.0),
    ]
    assert "1 x line without a speaker" in recorded.stderr
    again = cli(*command, "--cassette", "run", "--out", "again")
    assert again.stdout == recorded.stdout
    assert_same(tmp_path / "run", tmp_path / "again")


def test_lines_that_come_just_when_an_hour_begins_keep_their_order(
    cli: Any, agents: Path, tmp_path: Path
) -> None:
    """Events of equal times are replayed in the order of the recording."""
    path = tmp_path / "chat.jsonl"
    said = [
        {"time": f"{10 + number // 8}:00", "nick": f"n{number}", "text": f"ann: {number}"}
        for number in range(32)
    ]
    path.write_text("\n".join(map(json.dumps, said)), encoding="utf-8")
    command = ("wake", agents, "--messages", path, "--json")
    recorded = cli(*command, "--out", "run")
    assert cli(*command, "--cassette", "run", "--out", "again").stdout == recorded.stdout
    assert_same(tmp_path / "run", tmp_path / "again")


def test_lines_after_the_last_hour_are_named(cli: Any, agents: Path, chat: Path) -> None:
    """They are not said, in the replay neither."""
    command = ("wake", agents, "--messages", chat, "--set", "wake.every_seconds=600")
    recorded = cli(*command, "--hours", 2, "--out", "run")
    assert "1 lines come after the last hour" in recorded.stderr
    assert cli(*command, "--cassette", "run").stdout == recorded.stdout


@pytest.mark.parametrize(
    "lines",
    [
        [{"nick": "Mia", "text": "x" * 1_000_000}] * 2,
        [{"nick": "Mia", "text": "@ben " * 200_000}],
        [{"nick": "Mia", "text": "\x00\x1b[2J\u202e"}, {"nick": "\x1b[2J\n", "text": "@cem hi"}],
        [{"nick": "Mia", "text": "only one speaker"}] * 5,
        [{"nick": "M", "text": "x", "time": time} for time in ("10:00", "09:00", "08:00")],
    ],
    ids=["1 MB", "mentions", "controls", "one speaker", "times that go back"],
)
def test_odd_chats_have_a_defined_result(
    cli: Any, agents: Path, tmp_path: Path, lines: list[dict[str, str]]
) -> None:
    """They are recorded and replayed as others are, and nothing in them reaches the terminal."""
    path = tmp_path / "odd.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = ("wake", agents, "--messages", path, "--chat")
    recorded = cli(*command, "--hours", 2, "--out", "run")
    assert recorded.exit_code == 0, recorded.stderr[-2000:]
    assert "\x1b" not in recorded.output
    assert cli(*command, "--cassette", "run").stdout == recorded.stdout


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["2004-11-15_03", "2009-02-23_10", "2011-05-29_19"])
def test_the_recorded_irc_chats_are_replayed(
    cli: Any, one_object: Any, agents: Path, tmp_path: Path, name: str
) -> None:
    """Hours of each, with three agents in between."""
    data = Path(os.environ.get("CALLWISE_DATA", Path(__file__).parents[3] / "../shared/data"))
    path = data / "sample_irc_groupchat" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no recorded data in {data}; set CALLWISE_DATA")
    command = ("wake", agents, "--messages", path, "--json")
    recorded = cli(*command, "--out", "run")
    assert len(one_object(recorded)["runs"][0]["messages"]) > 276
    assert cli(*command, "--cassette", "run", "--out", "again").stdout == recorded.stdout
    assert_same(tmp_path / "run", tmp_path / "again")
