"""Fixtures of a module and of a session: one program run once, and several tests about it."""

import json
from typing import Any

import numpy as np  # noqa: F401 - an inner pytest forgets modules, and numpy loads once only
import pytest

import callwise.testing.fixture  # noqa: F401 - loaded once for all inner runs

pytest_plugins = ("pytester",)

SHARED = """
    @pytest.fixture(scope="{scope}")
    def talked(callwise_{scope}):
        with callwise_{scope}.turn("talk", 0):
            ask(callwise_{scope}, 3)
        return callwise_{scope}

    def test_calls(talked):
        assert talked.calls.total == 3
        talked.check(None, "shared")

    @pytest.mark.max_calls(test=1)
    def test_own(talked):
        ask(talked, 1)
        assert talked.calls.total == 4

    @pytest.mark.max_calls(test=0)
    def test_nothing(talked):
        assert talked.calls.total == 4
"""


@pytest.mark.parametrize("scope", ["module", "session"])
def test_a_wider_fixture_is_shared_by_its_tests(project: Any, small_talk: str, scope: str) -> None:
    """The program runs once; each test's limit counts what that test asked."""
    project.write(small_talk, SHARED.format(scope=scope))
    result = project.run("--callwise-update")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*::test_calls: 3 calls in 1 turn (simulated)",
            "*::test_own: 1 call in 1 turn (simulated)",
            "baseline made: baselines/shared.json, 3.0 calls per turn over 1 turn (simulated)",
        ]
    )
    assert project.baselines() == ["shared.json"]
    project.run().assert_outcomes(passed=3)


def test_too_many_calls_fail_the_test_that_asked_them(project: Any, small_talk: str) -> None:
    """The others pass."""
    project.write(
        small_talk, SHARED.format(scope="module").replace("max_calls(test=1)", "max_calls(test=0)")
    )
    result = project.run("--callwise-update")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["max_calls: the test asked 1 call, allowed 0 (+1): *"])


def test_a_failing_test_leaves_its_baseline_unwritten(project: Any, small_talk: str) -> None:
    """The next test of the module does not write it in its place."""
    broken = SHARED.format(scope="module").replace('"shared")', '"shared")\n        assert False')
    project.write(small_talk, broken)
    result = project.run("--callwise-update")
    result.assert_outcomes(passed=2, failed=1)
    assert project.baselines() == []


def test_modules_have_their_own(project: Any, small_talk: str) -> None:
    """Two modules do not see each other's calls; a session's fixture sees both."""
    part = """
    def test_{name}(callwise_module, callwise_session):
        ask(callwise_module, 2)
        ask(callwise_session, 1)
        assert callwise_module.calls.total == 2
        assert callwise_session.calls.total == {total}
        assert list(callwise_module.calls.by_turn) == [("test_{name}", 0)]
    """
    files = {
        f"test_{name}": small_talk + part.format(name=name, total=total)
        for name, total in (("one", 1), ("two", 2))
    }
    project.write(**files)
    project.run().assert_outcomes(passed=2)


def test_a_limit_needs_one_fixture_to_count(project: Any, small_talk: str) -> None:
    """Of two fixtures it is not known which one is meant."""
    test = """
    @pytest.mark.max_calls(test=1)
    def test_both(callwise, callwise_module):
        ask(callwise, 1)
    """
    project.write(small_talk, test)
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max_calls counts *this test uses 2: use one of*"])


def test_a_module_plays_its_cassette(project: Any, small_talk: str) -> None:
    """Recorded with the option, and played without it, once for all tests."""
    test = """
    @pytest.fixture(scope="module")
    def talked(callwise_module):
        callwise_module.cassette("talk.cassette.jsonl")
        ask(callwise_module, 2)
        return callwise_module

    def test_first(talked):
        talked.check(None, "talk")

    def test_second(talked):
        assert talked.calls.total == 2
    """
    project.write(small_talk, test)
    project.run("--callwise-record", "--callwise-update").assert_outcomes(passed=2)
    lines = (project.path / "talk.cassette.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["outcome"] for line in lines[1:]] == ["served"] * 2
    result = project.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_first: 2 calls in 1 turn (replayed, simulated)"])
