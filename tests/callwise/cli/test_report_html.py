"""`callwise report DIR --html FILE`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def run(cli: Cli, talk: Path) -> Path:
    """Return the folder of a short run."""
    assert cli("replay", talk, "--preset", "instant", "--out", "run").exit_code == 0
    return Path("run")


def test_a_page_is_written_and_named(cli: Cli, run: Path) -> None:
    """The page is written where it was asked for; standard output stays empty."""
    result = cli("report", run, "--html", "page.html")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "page: page.html   (3 turns, " in result.stderr
    assert Path("page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_two_runs_of_the_same_talk_are_paired(cli: Cli, run: Path, talk: Path) -> None:
    """The other run's turns are paired, and how many is shown."""
    cli("replay", talk, "--preset", "frugal", "--out", "other")
    result = cli("report", run, "--html", "page.html", "--against", "other")
    assert result.exit_code == 0, result.output
    assert "3 turns, 3 of them paired" in result.stderr


def test_wrong_requests_are_refused_in_one_line(cli: Cli, run: Path) -> None:
    """Options that make no page exit with 2 and name the way out."""
    for arguments, said in (
        (("--against", "run"), "give --html FILE"),
        (("--html", "page.html", "--format", "csv"), "no --format or --table"),
        (("--html", "no/page.html"), "there is no folder"),
        (("--html", "run/turns.jsonl"), "is no page"),
        (("--html", "page.html", "--against", "nowhere"), "no such folder"),
    ):
        result = cli("report", run, *arguments)
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not Path("page.html").exists()
