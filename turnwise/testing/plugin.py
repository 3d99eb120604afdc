"""The pytest plugin: hooks only, thin over the rooms of `turnwise.testing.pytesting`.

pytest imports this file whenever it starts, in every project that has Turnwise installed.
So nothing is imported here but pytest; the rooms are, when a test uses the fixture or the
mark. `-p no:turnwise` leaves it out altogether.

Order of events in one test: the mark is read before the setup, the fixture is made, the test
runs, `max_calls` is held at the end of the call phase, where a failure is the test's own and
not an error of its teardown; baselines are written after the teardown, when nothing of the
test can fail any more.
"""

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from turnwise.testing.pytesting.options import add_options, choices_of
from turnwise.testing.pytesting.summary import NOTE, Summary

if TYPE_CHECKING:
    from turnwise.testing.fixture import Bench

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "turnwise",
]

_BENCH = pytest.StashKey["Bench"]()
_ALLOWED = pytest.StashKey[dict[str, int]]()
_HAS_FAILED = pytest.StashKey[bool]()

_MARK = (
    "max_calls(turn=16, judge=6, ...): fail when the test asked more calls through the turnwise "
    "fixture: `turn` in any turn, `conversation` and `test` in all, any other name in a turn by "
    "that role, node or purpose"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tell pytest the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest the mark, and collect notes where the summary is printed."""
    config.addinivalue_line("markers", _MARK)
    # A worker of pytest-xdist prints nothing; its notes go along with its reports.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(), "turnwise-summary")


@pytest.fixture
def turnwise(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator["Bench"]:
    """Run conversations and programs under the budgeter, and check their calls."""
    from turnwise.testing.fixture import Bench  # noqa: PLC0415 - pytest starts often
    from turnwise.testing.pytesting.place import BenchPlace  # noqa: PLC0415 - the same

    place = BenchPlace(
        test=request.node.nodeid,
        name=getattr(request.node, "originalname", None) or request.node.name,
        file=request.path,
        folder=tmp_path,
        today=datetime.now(UTC).date(),
    )
    bench = Bench(place, choices_of(request.config))
    request.node.stash[_BENCH] = bench
    yield bench
    bench.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Read the mark, and refuse one that could hold nothing, before anything is run."""
    item.stash[_HAS_FAILED] = False
    marks = [(mark.args, mark.kwargs) for mark in item.iter_markers("max_calls")]
    if not marks:
        return
    from turnwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often
    from turnwise.testing.pytesting.limits import allowed_calls  # noqa: PLC0415 - the same

    if "turnwise" not in getattr(item, "fixturenames", ()):
        pytest.fail(
            "max_calls counts what a test asks through the turnwise fixture, and this test does "
            "not use it: add `turnwise` to its arguments",
            pytrace=False,
        )
    try:
        item.stash[_ALLOWED] = allowed_calls(marks)
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Hold the mark once the test's own code has passed."""
    result = yield
    bench = item.stash.get(_BENCH, None)
    if bench is not None:
        problems = bench.problems(item.stash.get(_ALLOWED, None))
        if problems:
            pytest.fail("\n".join(problems), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the baselines of a test that passed whole, and send its note along."""
    report = yield
    # An expected failure is no pass: what it asked is nothing to hold others to.
    if not report.passed or hasattr(report, "wasxfail"):
        item.stash[_HAS_FAILED] = True
    if call.when == "teardown" and _BENCH in item.stash:
        bench = item.stash[_BENCH]
        del item.stash[_BENCH]
        _finish(bench, report, has_failed=item.stash[_HAS_FAILED])
    return report


def _finish(bench: "Bench", report: pytest.TestReport, *, has_failed: bool) -> None:
    from turnwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

    updated: list[tuple[str, str, str]] = []
    if not has_failed:
        try:
            updated = bench.write_baselines()
        except ConfigError as error:
            report.outcome = "failed"
            report.longrepr = str(error)
    # pytest-xdist carries plain values on a report from its workers to the controller.
    vars(report)[NOTE] = bench.note(updated)
