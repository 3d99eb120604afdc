"""The page about CI: its workflow is one, and its commands do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from callwise.knobs.presets import parse_yaml
from callwise.shipped import conversation_path
from callwise.testing.gate import read_quarantine

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def _shell(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    summary = {"PATH": path, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return subprocess.run(  # noqa: S603 - the page's own commands
        ["bash", "-euo", "pipefail", "-c", commands],  # noqa: S607
        cwd=folder,
        env=os.environ | summary,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_workflow_is_well_formed() -> None:
    """YAML that GitHub reads: read-only, with steps that run or use something."""
    workflow = parse_yaml(_blocks("yaml")[1], "docs/ci.md")
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["on"]) == {"pull_request", "push"}
    steps = workflow["jobs"]["gate"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    comment = parse_yaml(_blocks("yaml")[2], "docs/ci.md")
    assert "github.token" in comment[0]["env"]["GH_TOKEN"]


def test_the_short_workflow_gives_the_action_what_it_takes() -> None:
    """The names of its inputs, and all that it needs."""
    used = parse_yaml(_blocks("yaml")[0], "docs/ci.md")[-1]
    inputs = parse_yaml((ROOT / "action.yml").read_text(encoding="utf-8"), "action.yml")["inputs"]
    needed = {name for name, each in inputs.items() if each.get("required")}
    assert needed <= set(used["with"]) <= set(inputs)


def test_the_quarantine_on_the_page_is_one(tmp_path: Path) -> None:
    """The example is read unchanged."""
    path = tmp_path / "quarantine.yaml"
    path.write_text(_blocks("yaml")[3], encoding="utf-8")
    (case,) = read_quarantine(path)
    assert (case.turn, case.owner) == (7, "sam")


@pytest.mark.slow
def test_the_page_followed_from_top_to_workflow(tmp_path: Path) -> None:
    """A first baseline, a green gate, the workflow's own steps, and Python at the end."""
    talk = conversation_path("en_moving_city.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    (tmp_path / "talk.jsonl").write_text("\n".join(talk) + "\n", encoding="utf-8")
    first, again, *_ = _blocks("sh")
    done = _shell(f"{first}\ncp talk.jsonl ci/\n{again}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ok: ")
    (tmp_path / "run").rename(tmp_path / "before")
    steps = parse_yaml(_blocks("yaml")[1], "docs/ci.md")["jobs"]["gate"]["steps"]
    commands = [step["run"] for step in steps if "run" in step and "pip" not in step["run"]]
    assert len(commands) == 3
    done = _shell("\n".join(commands), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Calls per turn: ok" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    (tmp_path / "gate.py").write_text(_blocks("python")[-1], encoding="utf-8")
    done = _shell("python gate.py", tmp_path)
    assert done.stdout.startswith("ok: "), done.stderr


@pytest.mark.slow
def test_the_program_of_the_page_is_gated(tmp_path: Path) -> None:
    """Its four commands, one after another."""
    talk = conversation_path("en_moving_city.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (tmp_path / "talk.jsonl").write_text("\n".join(talk) + "\n", encoding="utf-8")
    (tmp_path / "my_agent.py").write_text(_blocks("python")[0], encoding="utf-8")
    (commands,) = _blocks("console")
    done = _shell(f"mkdir ci\n{commands.replace('$ ', '')}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ok: 1.0 calls per turn over 2 turns")
