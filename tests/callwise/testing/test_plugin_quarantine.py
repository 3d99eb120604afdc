"""`--callwise-quarantine`: known flaky cases, with an owner and an end date."""

from typing import Any

import numpy as np  # noqa: F401 - an inner pytest forgets modules, and numpy loads once only
import pytest

import callwise.testing.fixture  # noqa: F401 - loaded once for all inner runs

pytest_plugins = ("pytester",)

TALK = """
    def test_talk(callwise):
        with callwise.turn("talk", 7):
            ask(callwise, 2)
        callwise.check(None, "talk")
"""

CASE = """
- conversation: talk
  turn: 7
  reason: the judge ties on this turn
  owner: sam
  until: {until}
"""


@pytest.fixture
def risen(project: Any, small_talk: str) -> Any:
    """Return a project whose baseline is one call behind."""
    project.write(small_talk, TALK)
    project.run("--callwise-update")
    project.write(small_talk, TALK.replace("2)", "3)"))
    return project


def test_a_known_case_passes_and_is_shown(risen: Any) -> None:
    """The test passes, and the summary names the case, its owner and its end."""
    (risen.path / "flaky.yaml").write_text(CASE.format(until="9999-12-31"), encoding="utf-8")
    risen.run().assert_outcomes(failed=1)
    result = risen.run("--callwise-quarantine", "flaky.yaml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["in quarantine: *other 2 -> 3 (+50 %), turn 7 of talk (in quarantine until 9999-*, sam)"]
    )


def test_the_ini_entry_does_the_same(risen: Any) -> None:
    """The file may stand in the ini file; the option goes before it."""
    (risen.path / "flaky.yaml").write_text(CASE.format(until="9999-12-31"), encoding="utf-8")
    (risen.path / "empty.yaml").write_text("", encoding="utf-8")
    risen.configure("callwise_quarantine = flaky.yaml")
    risen.run().assert_outcomes(passed=1)
    risen.run("--callwise-quarantine", "empty.yaml").assert_outcomes(failed=1)


def test_an_ended_case_fails(risen: Any) -> None:
    """Nothing stays in quarantine for good."""
    (risen.path / "flaky.yaml").write_text(CASE.format(until="2020-01-01"), encoding="utf-8")
    result = risen.run("--callwise-quarantine", "flaky.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*quarantine of turn 7 of talk ended on 2020-01-01: sam*"])


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "*there is no quarantine file*"), ("- owner: sam\n", "*entry 1: *")],
)
def test_a_file_that_cannot_be_read_fails(risen: Any, text: str | None, words: str) -> None:
    """A missing or nonsense file switches nothing off silently."""
    if text is not None:
        (risen.path / "flaky.yaml").write_text(text, encoding="utf-8")
    result = risen.run("--callwise-quarantine", "flaky.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([words])
