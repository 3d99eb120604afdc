"""Hooks and fixtures of the pytest plugin.

pytest imports this file whenever it starts, in every project that has Callwise installed.
So nothing is imported here but pytest; the rest is, when a test uses the fixture or the
mark. `-p no:callwise` leaves it out altogether.

Order of events in one test: the mark is read before the setup, the fixture is made, the test
runs, `max_calls` is checked at the end of the call phase, where a failure is the test's own and
not an error of its teardown; baselines are written after the teardown, when nothing of the
test can fail any more. A fixture of a module or session counts for each test what was asked
since that test began.
"""

import os
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from callwise.testing.plugin_options import add_options, choices_of, refusal_in_ci
from callwise.testing.plugin_summary import NOTES, PluginSummary

if TYPE_CHECKING:
    from callwise.testing.fixture import CallwiseFixture

__all__ = [
    "callwise",
    "callwise_module",
    "callwise_session",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
]

_BENCH = pytest.StashKey["CallwiseFixture"]()
_BENCHES = pytest.StashKey[list["CallwiseFixture"]]()
_ALLOWED = pytest.StashKey[dict[str, int]]()
_HAS_FAILED = pytest.StashKey[bool]()

_FIXTURES = ("callwise", "callwise_module", "callwise_session")

_MARK = (
    "max_calls(turn=16, judge=6, ...): fail when the test asked more calls through the callwise "
    "fixture: `turn` in any turn, `conversation` and `test` in all, any other name in a turn by "
    "that role, node or purpose"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Add the mark, and collect notes where the summary is printed.

    Raises:
        pytest.UsageError: when files would be written under CI.
    """
    config.addinivalue_line("markers", _MARK)
    # A worker of pytest-xdist prints nothing; its notes go along with its reports.
    if not hasattr(config, "workerinput"):
        if refusal := refusal_in_ci(config, os.environ):
            raise pytest.UsageError(refusal)
        config.pluginmanager.register(PluginSummary(), "callwise-summary")


@pytest.fixture
def callwise(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["CallwiseFixture"]:
    """Run conversations and programs under the budgeter, and check their calls."""
    name = getattr(request.node, "originalname", None) or request.node.name
    yield from _bench(request, name=name, file=request.path, folder=tmp_path)


@pytest.fixture(scope="module")
def callwise_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["CallwiseFixture"]:
    """The same for all tests of a module together, such as an agent that is run once."""
    folder = tmp_path_factory.mktemp("callwise-module")
    yield from _bench(request, name=request.path.stem, file=request.path, folder=folder)


@pytest.fixture(scope="session")
def callwise_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["CallwiseFixture"]:
    """The same for all tests of a session; its files are looked for in the root folder."""
    folder = tmp_path_factory.mktemp("callwise-session")
    file = request.config.rootpath / "conftest.py"
    yield from _bench(request, name="session", file=file, folder=folder)


def _bench(
    request: pytest.FixtureRequest, *, name: str, file: Path, folder: Path
) -> Iterator["CallwiseFixture"]:
    from callwise.testing.fixture import CallwiseFixture  # noqa: PLC0415 - pytest starts often
    from callwise.testing.plugin_options import FixtureLocation  # noqa: PLC0415 - the same

    today = datetime.now(UTC).date()
    place = FixtureLocation(
        test=request.node.nodeid, name=name, file=file, folder=folder, today=today
    )
    bench = CallwiseFixture(place, choices_of(request.config))
    request.node.stash[_BENCH] = bench
    yield bench
    bench.close(has_failed=request.node.stash.get(_HAS_FAILED, False))


def _used_benches(item: pytest.Item) -> list["CallwiseFixture"]:
    """Return the benches that a test uses, its own and those of its module and session."""
    names = getattr(item, "fixturenames", ())
    nodes = (item, item.getparent(pytest.Module), item.session)
    return [
        node.stash[_BENCH]
        for name, node in zip(_FIXTURES, nodes, strict=True)
        if name in names and node is not None and _BENCH in node.stash
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Read the mark, and refuse one that checks nothing, before anything is run."""
    item.stash[_HAS_FAILED] = False
    for bench in _used_benches(item):
        bench.begin_test()
    marks = [(mark.args, mark.kwargs) for mark in item.iter_markers("max_calls")]
    if not marks:
        return
    from callwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often
    from callwise.testing.call_counts import allowed_calls  # noqa: PLC0415 - the same

    if not set(_FIXTURES).intersection(getattr(item, "fixturenames", ())):
        pytest.fail(
            "max_calls counts what a test asks through the callwise fixture, and this test does "
            "not use it: add `callwise` to its arguments",
            pytrace=False,
        )
    try:
        item.stash[_ALLOWED] = allowed_calls(marks)
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check the mark once the test's own code has passed."""
    result = yield
    allowed = item.stash.get(_ALLOWED, None)
    benches = _used_benches(item)
    if allowed is not None and len(benches) > 1:
        pytest.fail(
            "max_calls counts what a test asks through one callwise fixture, and this test uses "
            f"{len(benches)}: use one of {', '.join(_FIXTURES)}",
            pytrace=False,
        )
    problems = [problem for bench in benches for problem in bench.problems(allowed)]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the baselines of a test that passed whole, and send its note along."""
    report = yield
    # An expected failure is no pass: its calls are no baseline.
    if not report.passed or hasattr(report, "wasxfail"):
        for node in (item, item.getparent(pytest.Module), item.session):
            if node is not None:
                node.stash[_HAS_FAILED] = True
    if call.when == "setup":
        # Those of the module and the session are closed, with their last test, before its end.
        item.stash[_BENCHES] = _used_benches(item)
    if call.when == "teardown":
        for bench in item.stash.get(_BENCHES, []):
            _finish(bench, item, report)
    return report


def _finish(bench: "CallwiseFixture", item: pytest.Item, report: pytest.TestReport) -> None:
    from callwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

    updated: list[tuple[str, str, str]] = []
    if not item.stash[_HAS_FAILED]:
        try:
            updated = bench.write_baselines()
        except ConfigError as error:
            report.outcome = "failed"
            report.longrepr = str(error)
    # pytest-xdist carries plain values on a report from its workers to the controller.
    notes = vars(report).setdefault(NOTES, [])
    notes.append(bench.note(item.nodeid, updated))
