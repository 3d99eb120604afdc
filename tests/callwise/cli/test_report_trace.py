"""`callwise report RUN --trace FILE`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def run(cli: Cli, tmp_path: Path) -> Path:
    """Return the folder of a run of one turn."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"conversation_id": "one", "turn": 0, "user_text": "hi"}\n')
    folder = tmp_path / "run"
    assert cli("replay", talk, "--out", folder).exit_code == 0
    return folder


def test_a_trace_is_written_and_named(cli: Cli, run: Path) -> None:
    """The file has the calls of the run, next to a page where one is asked for too."""
    file, page = run.parent / "run.json", run.parent / "run.html"
    result = cli("report", run, "--trace", file, "--html", page)
    assert result.exit_code == 0
    assert "trace:" in result.stderr
    assert page.exists()
    calls = [each for each in json.loads(file.read_bytes())["traceEvents"] if each["ph"] == "X"]
    assert sum(each["cat"] == "call" for each in calls) > 5


def test_wrong_requests_are_refused(cli: Cli, run: Path) -> None:
    """A file has all calls, so there is no table to choose."""
    result = cli("report", run, "--trace", run / "x.json", "--table", "node")
    assert result.exit_code == 2
    assert "--trace" in result.stderr
