"""Summary of calls at the end of a pytest run, from one note per test.

A test's note travels on the report of its teardown. pytest-xdist carries reports, with their
attributes, from its workers to the controller, so the summary is made in one place either
way, and of a worker that crashed nothing is lost but the test that it ran.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypedDict

import pytest

__all__ = ["NOTES", "CallsOfTest", "PluginSummary"]

NOTES = "callwise_notes"
"""Name of the attribute of a report that carries a test's notes, one for each fixture."""

_MAX_TESTS = 20
"""Tests that are listed without `-v`; the rest is counted."""


class CallsOfTest(TypedDict):
    """The calls of one test. Plain JSON values, because it is sent between processes."""

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
    """Figures that were worse and in quarantine."""
    gains: list[str]
    """Figures that fell below their baseline."""


class PluginSummary:
    """Collects notes where reports arrive, and prints them once."""

    def __init__(self) -> None:
        self._notes: dict[str, list[CallsOfTest]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's notes; of a test that is run again the last ones count."""
        notes: Any = getattr(report, NOTES, None)
        if notes:
            self._notes[report.nodeid] = notes

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run when tests overwrote each other's baselines."""
        if any(self._twice_written()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Print what the tests asked, what was written, and what is in quarantine."""
        lines, problems = [*self._lines(config.get_verbosity())], [*self._twice_written()]
        if lines or problems:
            terminalreporter.section("callwise: calls asked", sep="-")
        for line in lines:
            terminalreporter.line(line)
        for problem in problems:
            terminalreporter.line(problem, red=True)

    def _twice_written(self) -> Iterator[str]:
        """Yield one text for each baseline that several tests wrote, and not alike."""
        writers: dict[str, dict[str, str]] = defaultdict(dict)
        for notes in self._notes.values():
            for note in notes:
                for path, _, digest in note["updated"]:
                    writers[path][note["test"]] = digest
        for path, tests in sorted(writers.items()):
            if len(set(tests.values())) > 1:
                yield (
                    f"{path} was written by {len(tests)} tests, and not alike: "
                    f"{', '.join(sorted(tests))}; give each its own baseline"
                )

    def _lines(self, verbosity: int) -> Iterator[str]:
        """Yield the summary's lines; tests that asked nothing and wrote nothing have none.

        With a verbosity of 1 and more every test is listed, below 0 none.
        """
        notes = [
            note
            for notes in self._notes.values()
            for note in notes
            if note["asked"] or note["updated"]
        ]
        notes.sort(key=lambda note: note["test"])
        if verbosity >= 0:
            shown = len(notes) if verbosity > 0 else _MAX_TESTS
            yield from map(_test_line, notes[:shown])
            if rest := notes[shown:]:
                asked = sum(note["asked"] for note in rest)
                yield f"and {len(rest)} more tests, {asked} calls (all with -v)"
        changes = [change for note in notes for _, change, _ in note["updated"]]
        yield from (f"baseline {change}" for change in changes if change)
        if same := changes.count(""):
            yield f"baselines as they were: {same}"
        yield from (f"in quarantine: {note['test']}: {t}" for note in notes for t in note["held"])
        yield from (
            f"below its baseline: {note['test']}: {t}" for note in notes for t in note["gains"]
        )


def _test_line(note: CallsOfTest) -> str:
    calls = f"{note['asked']} call{'' if note['asked'] == 1 else 's'}"
    turns = f"{note['turns']} turn{'' if note['turns'] == 1 else 's'}"
    most = f", at most {note['most']} per turn" if note["turns"] > 1 else ""
    kind = f" ({note['kind']})" if note["kind"] else ""
    return f"{note['test']}: {calls} in {turns}{most}{kind}"
