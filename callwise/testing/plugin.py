"""Hooks and fixtures of the pytest plugin.

pytest imports this file whenever it starts, in every project that has Callwise installed.
So nothing is imported here but pytest; everything else when a test uses the fixture or the
mark. `-p no:callwise` leaves it out altogether.

Order of events in one test: the mark is read before the setup, the fixture is made, the test
runs, `max_calls` is checked at the end of the call phase, where a failure is the test's own and
not an error of its teardown; baselines are written after the teardown, when nothing of the
test can fail any more. A fixture of a module or session counts for each test what was asked
since that test began.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from callwise.testing.plugin_options import add_options, refusal_in_ci, setup_of
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

_FIXTURE = pytest.StashKey["CallwiseFixture"]()
_USED = pytest.StashKey[list["CallwiseFixture"]]()
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
    yield from _fixture(request, name=name, file=request.path, folder=tmp_path)


@pytest.fixture(scope="module")
def callwise_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["CallwiseFixture"]:
    """The same for all tests of a module together, such as an agent that is run once."""
    folder = tmp_path_factory.mktemp("callwise-module")
    yield from _fixture(request, name=request.path.stem, file=request.path, folder=folder)


@pytest.fixture(scope="session")
def callwise_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["CallwiseFixture"]:
    """The same for all tests of a session; its files are searched in the root folder."""
    folder = tmp_path_factory.mktemp("callwise-session")
    file = request.config.rootpath / "conftest.py"
    yield from _fixture(request, name="session", file=file, folder=folder)


def _fixture(
    request: pytest.FixtureRequest, *, name: str, file: Path, folder: Path
) -> Iterator["CallwiseFixture"]:
    from callwise.testing.fixture import CallwiseFixture  # noqa: PLC0415 - pytest starts often

    fixture = CallwiseFixture(setup_of(request, name=name, file=file, folder=folder))
    request.node.stash[_FIXTURE] = fixture
    yield fixture
    fixture.close(has_failed=request.node.stash.get(_HAS_FAILED, False))


def _nodes(item: pytest.Item) -> tuple[pytest.Item | pytest.Collector | None, ...]:
    """Return the nodes of the fixtures' scopes, in the order of `_FIXTURES`."""
    return item, item.getparent(pytest.Module), item.session


def _used(item: pytest.Item) -> list["CallwiseFixture"]:
    """Return the fixtures that a test uses, its own and those of its module and session."""
    names = getattr(item, "fixturenames", ())
    return [
        node.stash[_FIXTURE]
        for name, node in zip(_FIXTURES, _nodes(item), strict=True)
        if name in names and node is not None and _FIXTURE in node.stash
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Read the mark, and refuse one that checks nothing, before anything is run."""
    item.stash[_HAS_FAILED] = False
    for fixture in _used(item):
        fixture.begin_test()
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
    allowed, fixtures = item.stash.get(_ALLOWED, None), _used(item)
    if allowed is not None and len(fixtures) > 1:
        pytest.fail(
            "max_calls counts what a test asks through one callwise fixture, and this test uses "
            f"{len(fixtures)}: use one of {', '.join(_FIXTURES)}",
            pytrace=False,
        )
    problems = [problem for fixture in fixtures for problem in fixture.problems(allowed)]
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
        for node in _nodes(item):
            if node is not None:
                node.stash[_HAS_FAILED] = True
    if call.when == "setup":
        # Those of the module and the session are closed, with their last test, before its end.
        item.stash[_USED] = _used(item)
    if call.when == "teardown":
        for fixture in item.stash.get(_USED, []):
            _finish(fixture, item, report)
    return report


def _finish(fixture: "CallwiseFixture", item: pytest.Item, report: pytest.TestReport) -> None:
    from callwise.calls.errors import ConfigError  # noqa: PLC0415 - pytest starts often

    is_passed = not item.stash[_HAS_FAILED]
    try:
        note = fixture.note(item.nodeid, is_passed=is_passed)
    except ConfigError as error:
        report.outcome = "failed"
        report.longrepr = str(error)
        note = fixture.note(item.nodeid, is_passed=False)
    # pytest-xdist carries plain values on a report from its workers to the controller.
    vars(report).setdefault(NOTES, []).append(note)
