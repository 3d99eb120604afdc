"""A separate project for tests of the pytest plugin."""

import pytest

SMALL_TALK = """
    import asyncio
    import pytest
    from callwise.calls import Call, Message, Purpose, Role

    def ask(callwise, count, role="main", client=None):
        llm = callwise.llm(role, client=client)
        messages = (Message("user", "hello"),)
        for sample in range(count):
            call = Call(Role(role), Purpose.OTHER, messages, sample=sample)
            asyncio.run(llm.ask(call))
"""

_OTHERS = ("langsmith_plugin", "nbmake", "hypothesispytest", "anyio")
WITHOUT_OTHERS = tuple(part for name in _OTHERS for part in ("-p", f"no:{name}"))
"""Plugins that have no part in these tests, and take seconds to load."""


class Project:
    """A project with tests that use the plugin; every warning in it is an error.

    Args:
        pytester: pytest's own.
    """

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path

    def configure(self, *entries: str) -> None:
        """Write the ini file, with further entries."""
        lines = [
            "[pytest]",
            "addopts = --strict-markers -p no:cacheprovider",
            "filterwarnings = error",
            "asyncio_mode = auto",
            "asyncio_default_fixture_loop_scope = function",
            *entries,
        ]
        self.pytester.makeini("\n".join(lines))

    def write(self, *parts: str, **files: str) -> None:
        """Write one test file of several parts, or several by name."""
        if parts:
            self.pytester.makepyfile("".join(parts))
        if files:
            self.pytester.makepyfile(**files)

    def run(self, *options: str) -> pytest.RunResult:
        """Run its tests in this process."""
        return self.pytester.runpytest_inprocess(*WITHOUT_OTHERS, *options)

    def run_apart(self, *options: str) -> pytest.RunResult:
        """Run its tests in a process of their own."""
        return self.pytester.runpytest_subprocess(*WITHOUT_OTHERS, *options)

    def baselines(self) -> list[str]:
        """Return the names of the baseline files that it has."""
        return sorted(path.name for path in self.path.rglob("baselines/*"))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return an empty project, which does not know whether this run is under CI."""
    monkeypatch.delenv("CI", raising=False)
    made = Project(pytester)
    made.configure()
    return made


@pytest.fixture
def small_talk() -> str:
    """Return the head of a test file: `ask(callwise, count)` asks equal questions."""
    return SMALL_TALK
