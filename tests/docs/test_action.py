"""The GitHub action: its steps, run as a runner runs them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None, reason="the action needs bash"),
]


def _run(folder: Path, **inputs: str) -> tuple[int, str, str]:
    """Run the steps but for the installation; return exit code, output and summary."""
    given = {name: each.get("default", "") for name, each in ACTION["inputs"].items()} | inputs
    needed = {name for name, each in ACTION["inputs"].items() if each.get("required")}
    assert needed <= set(inputs)
    temp, summary = folder / "temp", folder / "summary.md"
    temp.mkdir(exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "callwise"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m callwise "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    output = ""
    for step in ACTION["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "what a user gives is no part of a script"
        if step["name"] == "Install":
            continue
        environment = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], text)
            for name, text in step["env"].items()
        }
        done = subprocess.run(  # noqa: S603 - the action's own steps
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # noqa: S607
            cwd=folder,
            env={
                **os.environ,
                **environment,
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "RUNNER_TEMP": str(temp),
                "GITHUB_STEP_SUMMARY": str(summary),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        output += done.stdout + done.stderr
        if done.returncode:
            break
    shown = summary.read_text(encoding="utf-8") if summary.exists() else ""
    return done.returncode, output, shown


def _callwise(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "callwise", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a conversation, a preset of mine, a recording and a baseline."""
    folder = tmp_path_factory.mktemp("action")
    line = {"conversation_id": "talk", "turn": 0, "user_text": "I lost my job."}
    (folder / "talk.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    (folder / "mine.yaml").write_text("extends: frugal\n", encoding="utf-8")
    replay = ("replay", "talk.jsonl", "--preset", "mine.yaml", "--record", "calls.jsonl")
    _callwise(folder, *replay, "--out", "first")
    _callwise(folder, "check", "first", "--baseline", "baseline.json", "--update")
    return folder


INPUTS = {"conversations": "talk.jsonl", "baseline": "baseline.json", "preset": "mine.yaml"}


def test_a_replay_passes(recorded: Path) -> None:
    """With further gates, one per line."""
    more = {"cassette": "calls.jsonl", "gates": "rounds\ntokens=5%\n"}
    code, output, shown = _run(recorded, **INPUTS, **more)
    assert code == 0, output
    assert "as in baseline.json" in output
    assert shown


def test_a_preset_that_asks_more_fails(recorded: Path) -> None:
    """With the check's exit code, and its table in the run's summary."""
    dearer = recorded / "dearer"
    dearer.mkdir()
    for name in ("talk.jsonl", "baseline.json"):
        shutil.copy(recorded / name, dearer)
    mine = "extends: frugal\nsearch: {max_calls: 6}\n"
    (dearer / "mine.yaml").write_text(mine, encoding="utf-8")
    code, output, shown = _run(dearer, **INPUTS)
    assert code == 1, output
    assert "failed" in output
    assert "lats_search" in shown


def test_a_call_that_is_not_recorded_is_in_the_summary(recorded: Path) -> None:
    """The replay's own words, as text that cannot become markup."""
    changed = recorded / "changed"
    changed.mkdir()
    for name in ("baseline.json", "calls.jsonl", "mine.yaml"):
        shutil.copy(recorded / name, changed)
    line = {"conversation_id": "talk", "turn": 0, "user_text": "I found a job."}
    (changed / "talk.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    code, output, shown = _run(changed, **INPUTS, cassette="calls.jsonl")
    assert code == 1, output
    assert "first difference" in output
    assert "    " in shown
    assert "first difference" in shown


@pytest.mark.parametrize("name", ["conversations", "baseline", "cassette", "preset", "gates"])
def test_inputs_are_no_commands(recorded: Path, name: str) -> None:
    """A value that a shell or an option parser would take for more is a name like any other."""
    code, output, _ = _run(recorded, **{**INPUTS, name: '--help"; touch made; $(touch made)'})
    assert code != 0, output
    assert not (recorded / "made").exists()
