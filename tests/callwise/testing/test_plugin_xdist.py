"""Several processes: one summary, and baselines that are written whole."""

import json
from typing import Any

import pytest

pytest_plugins = ("pytester",)

TALKS = """
    @pytest.mark.max_calls(turn=4)
    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
    def test_talk(callwise, count):
        with callwise.turn("talk", 0):
            ask(callwise, count)
        callwise.check(None, f"talk-{count}")
"""


@pytest.mark.slow
def test_workers_report_to_one_summary(project: Any, small_talk: str) -> None:
    """Two workers write the baselines of what passed; the controller says it once."""
    project.write(small_talk, TALKS)
    result = project.run_apart("-n", "2", "--callwise-update")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        ["*max_calls: turn 0 of talk asked 5 calls, allowed 4 (+1): -/main/other 5"]
    )
    printed = result.stdout.str()
    assert printed.count("callwise: calls asked") == 1
    assert printed.count("baseline made: ") == 4
    assert "::test_talk[3]: 3 calls in 1 turn (simulated)" in printed
    assert project.baselines() == [f"talk-{count}.json" for count in (1, 2, 3, 4)]
    for count in (1, 2, 3, 4):
        text = (project.path / "baselines" / f"talk-{count}.json").read_text(encoding="utf-8")
        assert json.loads(text)["turns"][0]["asked"] == {"-/main/other": count}


@pytest.mark.slow
def test_workers_with_one_name_fail_the_run(project: Any, small_talk: str) -> None:
    """Tests in two processes overwrite each other: the controller sees it and ends red."""
    project.write(small_talk, TALKS.replace('f"talk-{count}"', '"talk"').replace(", 5]", "]"))
    result = project.run_apart("-n", "2", "--callwise-update")
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["baselines/talk.json was written by 4 tests, and not alike: *"])
