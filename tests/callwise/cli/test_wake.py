"""`callwise wake`: a simulated day, and what is wrong in a file of agents."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

AGENTS = """
models:
  one: {model: first}
  two: {model: second}
endpoints:
  main: {kind: simulated}
wake: {fallback: everyone, intent_daily_calls: 0}
agents:
  - {id: ann, persona: A baker., model: one}
  - {id: ben, persona: A diver., model: one}
  - {id: cem, persona: A poet., model: two}
messages:
  - {author: Mia, text: "@ben are you there?", after_seconds: 600}
"""


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """Return a file of three agents on two models, all awake each hour."""
    path = tmp_path / "agents.yaml"
    path.write_text(AGENTS, encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_demo_compares_the_variants_of_one_day(cli: Any, one_object: Any) -> None:
    """Batches change no message: only the number of requests, never what is asked."""
    document = one_object(cli("wake", "--demo", "--json"))
    runs = {run["variant"]: run for run in document["runs"]}
    assert document["simulated"]
    together, singly = runs["server_batch"], runs["mixed"]
    assert together["messages"] == singly["messages"]
    assert len([each for each in together["wakes"] if not each["is_message"]]) == 24
    for one, other in zip(together["wakes"], singly["wakes"], strict=True):
        assert (one["calls"], one["tokens"], one["usd"]) == (
            other["calls"],
            other["tokens"],
            other["usd"],
        )
        assert one["requests"] <= min(other["requests"], 1 + 2)
        assert other["requests"] == other["calls"]
    shown = cli("wake", "--demo").stdout
    assert "(simulated)" in shown
    assert cli("wake", "--demo").stdout == shown


def test_each_hour_is_one_request_per_model(cli: Any, one_object: Any, agents: Path) -> None:
    """Messages come after their delays, and a mention is answered immediately."""
    (run,) = one_object(cli("wake", agents, "--hours", 2, "--json"))["runs"]
    hours = [each for each in run["wakes"] if not each["is_message"]]
    assert [(each["calls"], each["requests"]) for each in hours] == [(3, 2), (3, 2)]
    assert {each["intent"] for each in hours} == {"fallback: no quota"}
    assert Counter(each["author"] for each in run["messages"]) == Counter(
        {"ann": 2, "ben": 3, "cem": 2, "Mia": 1}
    )
    assert [each["sequence"] for each in run["messages"]] == list(range(1, 9))
    (said,) = [each for each in run["messages"] if each["author"] == "Mia"]
    answer = run["messages"][said["sequence"]]
    assert (answer["author"], answer["at"]) == ("ben", said["at"])


def test_a_kept_store_goes_on_after_its_last_message(
    cli: Any, one_object: Any, agents: Path
) -> None:
    """Its chat and credits are those of the run before; no hour is woken twice."""
    command = ("wake", agents, "--hours", 1, "--store", "kept.sqlite", "--json")
    (first,) = one_object(cli(*command))["runs"]
    (second,) = one_object(cli(*command))["runs"]
    assert second["messages"][0]["sequence"] == first["messages"][-1]["sequence"] + 1
    assert second["wakes"][0]["at"] > first["wakes"][-1]["at"]


def test_messages_are_printed_as_they_come(cli: Any, agents: Path) -> None:
    """With their time and author; what they contain is text."""
    agents.write_text(AGENTS.replace("are you there?", "\\e[31mred"), encoding="utf-8")
    shown = cli("wake", agents, "--hours", 1, "--chat").stdout
    assert "2026-01-01 00:10:00  Mia: @ben" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("model: two}", "model: three}"), "'three' (of cem)"),
        (("id: ben", "id: ANN"), "'ANN'"),
        (("id: ben", 'id: "b\\nc"'), "agents.1.id"),
        (("persona: A poet.", 'persona: ""'), "agents.2.persona"),
        (("wake: {", "wake: {vairant: mixed, "), "wake.variant"),
        (("wake: {", "wake: {delay_seconds: [9, 2], "), "got 9 and 2"),
        (("author: Mia", "author: ann"), "author 'ann' is an agent"),
        (("author: Mia", "to: dan, author: Mia"), "for 'dan', which is no agent"),
        (("after_seconds: 600", "after_seconds: -1"), "after_seconds"),
        (("models:", "modles:"), "models"),
        (("agents:", "agents: ["), "agents.yaml"),
    ],
)
def test_a_wrong_file_is_refused_by_name(
    cli: Any, agents: Path, change: tuple[str, str], words: str
) -> None:
    """Before anything is asked."""
    agents.write_text(AGENTS.replace(*change), encoding="utf-8")
    shown = cli("wake", agents)
    assert shown.exit_code == 2, shown.output
    assert words in shown.stderr
    assert not shown.stdout


def test_what_is_to_be_run_is_named(cli: Any, agents: Path) -> None:
    """A file or the demo; comparing needs simulated models."""
    assert "--demo" in cli("wake").stderr
    assert cli("wake", agents, "--demo").exit_code == 2
    assert "there is no file of agents" in cli("wake", "none.yaml").stderr
    real = AGENTS.replace("{kind: simulated}", "{base_url: 'http://127.0.0.1:9/v1', model: m}")
    agents.write_text(real, encoding="utf-8")
    shown = cli("wake", agents, "--compare")
    assert shown.exit_code == 2
    assert "--compare" in shown.stderr


def test_several_runs_take_no_store(cli: Any, agents: Path, tmp_path: Path) -> None:
    """They begin with empty ones: one that is given would be left out without a word."""
    for command in (("--demo",), (agents, "--compare")):
        shown = cli("wake", *command, "--store", "kept.sqlite")
        assert shown.exit_code == 2, shown.output
        assert "--store" in shown.stderr
        assert not shown.stdout
    assert not list(tmp_path.rglob("kept.sqlite"))


def test_lines_of_the_file_after_the_last_hour_are_counted(cli: Any, agents: Path) -> None:
    """They are not said, as those of a recorded chat are not."""
    late = "".join(f"  - {{author: Jo, text: x, after_seconds: {n}}}\n" for n in (7200, 9000, 60))
    agents.write_text(AGENTS + late, encoding="utf-8")
    shown = cli("wake", agents, "--hours", 2)
    assert "agents.yaml: 2 lines come after the last hour; give more --hours" in shown.stderr
    assert "after the last hour" not in cli("wake", agents, "--hours", 3).stderr


def root_page(path: Path, table: str) -> int:
    """Return the number of a table's first page of 4 KB, from 1 on."""
    with closing(sqlite3.connect(path)) as store:
        (page,) = store.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    return int(page)


@pytest.mark.parametrize(
    "table", ["credit_transfers", "agent_notes", "settled_choices", "room_log"]
)
def test_hours_that_a_damaged_store_has_lost_are_a_failure(
    cli: Any, agents: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the whole command, whether wakes fail or each of their replies."""
    command = ("wake", agents, "--hours", 2, "--store", "kept.sqlite")
    assert cli(*command).exit_code == 0
    path = Path("kept.sqlite")
    page = root_page(path, table)
    data = bytearray(path.read_bytes())
    data[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    path.write_bytes(data)
    shown = cli(*command)
    assert shown.exit_code == 1, shown.output
    assert "StoreDamaged" in shown.stderr + caplog.text


def test_endpoints_that_only_the_file_names_get_nothing(cli: Any, agents: Path) -> None:
    """Neither a prompt nor a key, whether they are of a role or of a model."""
    agents.write_text(
        AGENTS.replace("{model: first}", "{model: first, base_url: 'https://example.com/v1'}"),
        encoding="utf-8",
    )
    shown = cli("wake", agents)
    assert shown.exit_code == 2, shown.output
    assert "example.com" in shown.stderr


def test_facts_have_a_column_where_they_are_extracted(
    cli: Any, one_object: Any, agents: Path
) -> None:
    """Each hour has one request more, for all agents, and the same messages."""
    command = ("wake", agents, "--hours", 2)
    extracted = ("--set", "wake.memory=extracted")
    (usual,) = one_object(cli(*command, "--json"))["runs"]
    (run,) = one_object(cli(*command, *extracted, "--json"))["runs"]
    hours = [each for each in run["wakes"] if not each["is_message"]]
    assert [(each["calls"], each["requests"]) for each in hours] == [(6, 3), (6, 3)]
    assert [each["text"] for each in run["messages"][:3]] == [
        each["text"] for each in usual["messages"][:3]
    ]
    assert all(reply["facts"] for each in hours[:1] for reply in each["replies"])
    header = cli(*command, *extracted).stdout.splitlines()[1].split()
    assert header[-6:] == ["messages", "facts", "calls", "requests", "tokens", "usd"]
    assert "facts" not in cli(*command).stdout
