"""The mark `max_calls` in a run of pytest."""

from typing import Any

import numpy as np  # noqa: F401 - an inner pytest forgets modules, and numpy loads once only
import pytest

import callwise.testing.call_counts  # noqa: F401 - loaded once for all inner runs

pytest_plugins = ("pytester",)


def test_a_breach_fails_the_test_itself(project: Any, small_talk: str) -> None:
    """One call too much fails in the call phase, with turn, count and excess."""
    project.write(
        small_talk,
        """
    @pytest.mark.max_calls(turn=2)
    def test_kept(callwise):
        with callwise.turn("talk", 0):
            ask(callwise, 2)

    @pytest.mark.max_calls(turn=2, judge=5)
    def test_broken(callwise):
        with callwise.turn("talk", 3):
            ask(callwise, 3)
    """,
    )
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["max_calls: turn 3 of talk asked 3 calls, allowed 2 (+1): -/main/other 3"]
    )


def test_calls_outside_of_turns_count_as_one_turn(project: Any, small_talk: str) -> None:
    """A test that opens no turn is held as turn 0 of itself."""
    project.write(
        small_talk,
        """
    @pytest.mark.max_calls(turn=1)
    def test_broken(callwise):
        ask(callwise, 2)
    """,
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max_calls: turn 0 of test_broken asked 2 calls, allowed 1 (+1)*"])


def test_the_tests_own_failure_is_shown_first(project: Any, small_talk: str) -> None:
    """A test that fails by itself is not blamed for its calls as well."""
    project.write(
        small_talk,
        """
    @pytest.mark.max_calls(turn=1)
    def test_broken(callwise):
        ask(callwise, 2)
        assert 1 == 2
    """,
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])
    result.stdout.no_fnmatch_line("max_calls:*")


def test_without_the_fixture_the_mark_is_an_error(project: Any, small_talk: str) -> None:
    """Nothing would be counted, so the test does not even start."""
    project.write(
        """
    import pytest

    @pytest.mark.max_calls(turn=16)
    def test_blind():
        raise RuntimeError("it started")
    """,
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["max_calls counts what a test asks through the callwise fixture*"])
    result.stdout.no_fnmatch_line("*it started*")


def test_a_fixture_that_uses_the_fixture_will_do(project: Any, small_talk: str) -> None:
    """The test need not name it itself; a class's mark holds its tests, the nearest first."""
    project.write(
        small_talk,
        """
    @pytest.fixture
    def asked(callwise):
        ask(callwise, 2)

    @pytest.mark.max_calls(turn=1)
    class TestAll:
        def test_broken(self, asked):
            pass

        @pytest.mark.max_calls(turn=2)
        def test_kept(self, asked):
            pass
    """,
    )
    project.run().assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("mark", ["max_calls(16)", "max_calls(turn='16')", "max_calls()"])
def test_a_mark_that_cannot_work_is_an_error(project: Any, small_talk: str, mark: str) -> None:
    """A limit that is none stops the test before it runs."""
    project.write(
        f"""
    import pytest

    @pytest.mark.{mark}
    def test_blind(callwise):
        pass
    """,
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["max_calls*"])


def test_a_program_that_was_never_wired_fails(project: Any, small_talk: str) -> None:
    """A limit over nothing asked is a failure that says where the model comes from."""
    project.write(
        """
    import pytest

    @pytest.mark.max_calls(turn=16)
    def test_unwired(callwise):
        pass
    """,
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*asked nothing through the callwise fixture*"])


def test_an_unknown_name_fails_with_the_nearest(project: Any, small_talk: str) -> None:
    """A typo is no limit that is always kept."""
    project.write(
        small_talk,
        """
    @pytest.mark.max_calls(juge=4)
    def test_typo(callwise):
        ask(callwise, 1)
    """,
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max_calls: 'juge' is no role*did you mean judge?*"])


def test_refused_calls_are_asked_calls(project: Any, small_talk: str) -> None:
    """A hard cap stops the sending; the mark counts what the program wanted."""
    project.write(
        small_talk,
        """
    from callwise.budget import Limits
    from callwise.calls import CallRefused

    @pytest.mark.max_calls(turn=1)
    def test_capped(callwise):
        with callwise.turn("talk", 0, limits=Limits(max_calls=1)):
            with pytest.raises(CallRefused):
                ask(callwise, 2)
    """,
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max_calls: turn 0 of talk asked 2 calls, allowed 1 (+1)*"])
