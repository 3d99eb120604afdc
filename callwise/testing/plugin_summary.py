"""Summary of calls at the end of a pytest run, from one note per test.

A test's note travels on the report of its teardown. pytest-xdist carries reports, with what
hangs on them, from its workers to the controller, so the summary is made in one place either
way, and of a worker that crashed nothing is lost but the test that it ran.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import pytest

__all__ = ["NOTES", "CallNote", "PluginSummary", "summary_lines", "twice_written"]

NOTES = "callwise_notes"
"""Name of the attribute of a report that carries a test's notes, one for each fixture."""

_MAX_TESTS = 20
"""Tests that are listed without `-v`; the rest is counted."""


class CallNote(TypedDict):
    """What one test did. Plain JSON values, because it travels between processes."""

    test: str
    """Its node id."""
    asked: int
    """Calls that it asked."""
    turns: int
    """Turns that it ran."""
    most: int
    """Calls of its dearest turn."""
    kind: str
    """`simulated`, `replayed`, `live` or `scripted`; several joined by `, `."""
    updated: list[tuple[str, str, str]]
    """Baselines written: the file, what changed (empty for nothing), and a digest."""
    held: list[str]
    """What was worse and in quarantine."""
    gains: list[str]
    """What fell below its baseline."""


def twice_written(notes: Iterable[CallNote]) -> list[str]:
    """Return one text for each baseline that several tests wrote, and not alike."""
    writers: dict[str, dict[str, str]] = defaultdict(dict)
    for note in notes:
        for path, _, digest in note["updated"]:
            writers[path][note["test"]] = digest
    return [
        f"{path} was written by {len(tests)} tests, and not alike: {', '.join(sorted(tests))}; "
        "give each its own baseline"
        for path, tests in sorted(writers.items())
        if len(set(tests.values())) > 1
    ]


def summary_lines(notes: Sequence[CallNote], *, verbosity: int = 0) -> list[str]:
    """Return the summary's lines; none when no test asked anything.

    Args:
        notes: one a test.
        verbosity: pytest's: 1 and more lists every test, below 0 none.
    """
    # A test that asked nothing is not listed.
    ordered = sorted(
        (note for note in notes if note["asked"] or note["updated"]), key=lambda note: note["test"]
    )
    lines: list[str] = []
    if verbosity >= 0:
        shown = ordered if verbosity > 0 else ordered[:_MAX_TESTS]
        lines += [_test_line(note) for note in shown]
        if len(shown) < len(ordered):
            rest = ordered[len(shown) :]
            asked = sum(note["asked"] for note in rest)
            lines.append(f"and {len(rest)} more tests, {asked} calls (all with -v)")
    lines += [
        f"baseline written: {path} ({change})"
        for note in ordered
        for path, change, _ in note["updated"]
        if change
    ]
    same = sum(not change for note in ordered for _, change, _ in note["updated"])
    if same:
        lines.append(f"baselines as they were: {same}")
    lines += [f"in quarantine: {note['test']}: {t}" for note in ordered for t in note["held"]]
    lines += [f"below its baseline: {note['test']}: {t}" for note in ordered for t in note["gains"]]
    return lines


def _test_line(note: CallNote) -> str:
    calls = f"{note['asked']} call{'' if note['asked'] == 1 else 's'}"
    turns = f"{note['turns']} turn{'' if note['turns'] == 1 else 's'}"
    most = f", at most {note['most']} per turn" if note["turns"] > 1 else ""
    kind = f" ({note['kind']})" if note["kind"] else ""
    return f"{note['test']}: {calls} in {turns}{most}{kind}"


class PluginSummary:
    """Collects notes where reports arrive, and prints them once."""

    def __init__(self) -> None:
        self._notes: dict[str, list[CallNote]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's notes; of a test that is run again the last ones count."""
        notes: Any = getattr(report, NOTES, None)
        if notes:
            self._notes[report.nodeid] = notes

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run when tests overwrote each other's baselines."""
        if twice_written(self._all()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Print what the tests asked, what was written, and what is in quarantine."""
        notes = self._all()
        lines = summary_lines(notes, verbosity=config.get_verbosity())
        problems = twice_written(notes)
        if not lines and not problems:
            return
        terminalreporter.section("callwise: calls asked", sep="-")
        for line in lines:
            terminalreporter.line(line)
        for problem in problems:
            terminalreporter.line(problem, red=True)

    def _all(self) -> list[CallNote]:
        return [note for notes in self._notes.values() for note in notes]
