"""Experiments on the command line: arms, rollouts, feedback, exports, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

PRESET = """
extends: instant
experiment:
  name: caps
  arms: {today: {}, cheap: {set: {reply.max_chars: 100}}}
"""
ROLLOUT = """
  rollout: {arm: cheap, state: rollout.json, stages: [.5, 1], units: 10, checks: 2}
"""


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Thirty conversations of one turn, and two presets, in the working directory."""
    rows = [
        {"conversation_id": f"c{number}", "turn": 0, "user_text": "Hello."} for number in range(30)
    ]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "split.yaml").write_text(PRESET)
    (tmp_path / "rollout.yaml").write_text(PRESET + ROLLOUT)
    return path


def test_a_run_is_shown_by_arm(cli: Any, talks: Path) -> None:
    """In text, JSON and CSV; the whole report ends with it; a run without arms is told so."""
    assert cli("replay", talks, "--preset", "split.yaml", "--out", "run").exit_code == 0
    text = cli("report", "run", "--table", "arms")
    assert "Arms of caps, means per turn" in text.stdout
    assert "Arms less today" in text.stdout
    assert "Arms of caps" in cli("report", "run").stdout
    document = json.loads(cli("report", "run", "--table", "arms", "-f", "json").stdout)
    assert document["shares"] == {"today": 0.5, "cheap": 0.5}
    assert sum(document["units"].values()) == 30
    lines = cli("report", "run", "--table", "arms", "-f", "csv").stdout.splitlines()
    assert lines[0].startswith("arm,figure,mean,low,high")
    assert "| figure |" in cli("report", "run", "--table", "arms", "-f", "markdown").stdout
    plan = json.loads(cli("plan", "--preset", "split.yaml", "--json").stdout)
    assert set(plan["arms"]) == {"today", "cheap"}
    cli("replay", talks, "--preset", "instant", "--out", "plain", "--max-turns", "1")
    refused = cli("report", "plain", "--table", "arms")
    assert refused.exit_code == 2
    assert "names an arm" in refused.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("talks")
def test_the_line_of_a_turn_has_its_arm(cli: Any) -> None:
    """One message is answered in the arm of its conversation."""
    assert ", arm " in cli("run", "Hello.", "--preset", "split.yaml").stderr


def test_a_rollout_goes_on_and_the_next_run_has_its_share(cli: Any, talks: Path) -> None:
    """`check --rollout` reads the run once; a returned one exits with 1."""
    cli("replay", talks, "--preset", "rollout.yaml", "--out", "one")
    moved = cli("check", "one", "--rollout", "rollout.json")
    assert moved.exit_code == 0
    assert "complete: cheap of experiment caps is at 100 %" in moved.stdout
    cli("replay", talks, "--preset", "rollout.yaml", "--out", "two")
    arms = {json.loads(line)["arm"] for line in Path("two/turns.jsonl").read_text().splitlines()}
    assert arms == {"cheap"}
    document = json.loads(Path("rollout.json").read_text())
    Path("rollout.json").write_text(json.dumps({**document, "status": "returned", "share": 0.0}))
    with Path("two/turns.jsonl").open("a") as cut:
        cut.write('{"conversation_id": "c0')
    returned = cli("check", "two", "--rollout", "rollout.json", "--json")
    assert "turns.jsonl: the last line is cut off" in returned.stderr
    assert returned.exit_code == 1
    assert json.loads(returned.stdout)["passed"] is False
    cli("replay", talks, "--preset", "rollout.yaml", "--out", "three")
    arms = {json.loads(line)["arm"] for line in Path("three/turns.jsonl").read_text().splitlines()}
    assert arms == {"today"}


def test_feedback_is_added_and_exported(cli: Any, talks: Path) -> None:
    """A file is added all or none; an export without anything to write is an error."""
    cli("replay", talks, "--preset", "split.yaml", "--out", "run", "--max-turns", "2")
    empty = cli("report", "run", "--export", "sft", "--output", "sft.jsonl")
    assert empty.exit_code == 2
    assert "has no feedback for --export sft" in empty.stderr
    records = [{"conversation": "c0", "turn": 0, "rating": 5, "correction": "Hello, you."}]
    Path("good.jsonl").write_text(json.dumps(records[0]) + "\n")
    bad = {"conversation": "c99", "turn": 0, "rating": 1}
    Path("bad.jsonl").write_text(json.dumps(records[0]) + "\n" + json.dumps(bad) + "\n")
    refused = cli("report", "run", "--feedback", "bad.jsonl")
    assert refused.exit_code == 2
    assert "no turn 0 of 'c99'" in refused.stderr
    assert not Path("run/feedback.jsonl").exists()
    added = cli("report", "run", "--feedback", "good.jsonl")
    assert (added.exit_code, added.stdout) == (0, "")
    for form, key in (("sft", "messages"), ("dpo", "chosen")):
        assert cli("report", "run", "--export", form, "--output", "out").exit_code == 0
        assert json.loads(Path("out").read_text())[key][-1]["content"] == "Hello, you."
    before = Path("run/turns.jsonl").read_bytes()
    refused = cli("report", "run", "--export", "sft", "--output", "run/turns.jsonl")
    assert (refused.exit_code, Path("run/turns.jsonl").read_bytes()) == (2, before)
    assert "is a file of the run" in refused.stderr
    assert cli("report", "run", "--export", "labels", "--output", "out").exit_code == 0
    assert Path("out").read_text().startswith("conversation,turn,reply,value,rater,scale")
    assert "rating" in cli("report", "run", "--table", "arms").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "x", "--export", "sft"), "go together"),
        (("report", "x", "--output", "f"), "go together"),
        (("report", "x", "--candidates"), "give that too"),
        (("report", "x", "--html", "p", "--feedback", "f"), "do nothing else"),
        (("report", "x", "--trace", "p", "--export", "sft"), "do nothing else"),
        (("report", "x", "--scores", "f", "--table", "node"), "give --table arms"),
        (("check", "x"), "--baseline FILE, or --rollout FILE"),
        (("check", "x", "-b", "f", "--rollout", "g"), "--baseline FILE, or --rollout FILE"),
        (("check", "x", "--rollout", "g", "--gate", "usd"), "experiment.rollout"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    cli: Any, arguments: tuple[str, ...], message: str
) -> None:
    """With the way out, before anything is read."""
    result = cli(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
