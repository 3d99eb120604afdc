"""`--callwise-update`, baselines, and where they stand."""

import json
import textwrap
import unicodedata
from typing import Any

import numpy as np  # noqa: F401 - an inner pytest forgets modules, and numpy loads once only
import pytest

import callwise.testing.fixture  # noqa: F401 - loaded once for all inner runs

pytest_plugins = ("pytester",)

TWO_CALLS = """
    def test_talk(callwise):
        with callwise.turn("talk", 0):
            ask(callwise, 2)
        callwise.check(None, "talk")
"""


def asked(project: Any, name: str = "talk") -> list[dict[str, int]]:
    """Return the calls of each turn of a baseline."""
    text = (project.path / "baselines" / f"{name}.json").read_text(encoding="utf-8")
    return [turn["asked"] for turn in json.loads(text)["turns"]]


def test_a_missing_baseline_fails_and_names_the_option(project: Any, small_talk: str) -> None:
    """Without the option nothing is written, and the failure names calls and option."""
    project.write(small_talk, TWO_CALLS)
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["callwise.check('talk'): there is no baseline *this run asked 2 calls in 1 turn*update"]
    )
    assert project.baselines() == []


def test_update_writes_and_lists_the_changes(project: Any, small_talk: str) -> None:
    """New, changed and unchanged baselines are told apart; afterwards the check passes."""
    project.write(small_talk, TWO_CALLS)
    result = project.run("--callwise-update")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["baseline made: baselines/talk.json, 2.0 calls per turn over 1 turn (simulated)"]
    )
    assert asked(project) == [{"-/main/other": 2}]
    project.run().assert_outcomes(passed=1)

    project.write(small_talk, TWO_CALLS.replace("2)", "3)"))
    result = project.run("--callwise-update")
    result.stdout.fnmatch_lines(
        [
            "baseline updated: baselines/talk.json, 3.0 calls per turn over 1 turn *, 2.0 before",
            "  other 2 -> 3 (+50 %) in 1 turn",
        ]
    )
    project.write(small_talk, TWO_CALLS)
    result = project.run("--callwise-update")
    result.stdout.fnmatch_lines(
        [
            "baseline updated: baselines/talk.json, 2.0 calls per turn over 1 turn *, 3.0 before",
            "  other 3 -> 2 (-33 %) in 1 turn",
        ]
    )
    before = (project.path / "baselines" / "talk.json").stat().st_mtime_ns
    result = project.run("--callwise-update")
    result.stdout.fnmatch_lines(["baselines as they were: 1"])
    assert (project.path / "baselines" / "talk.json").stat().st_mtime_ns == before


def test_one_call_more_fails_and_names_it(project: Any, small_talk: str) -> None:
    """The failure says what rose, by how much, and in which turn."""
    project.write(small_talk, TWO_CALLS)
    project.run("--callwise-update")
    project.write(small_talk, TWO_CALLS.replace("2)", "3)"))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "callwise.check('talk'): failed: 2.0 -> 3.0 calls per turn over 1 turn (simulated)*",
            "*other 2 -> 3 (+50 %), turn 0 of talk*",
        ]
    )
    assert asked(project) == [{"-/main/other": 2}]


def test_one_call_less_passes_and_is_shown(project: Any, small_talk: str) -> None:
    """A gain fails nothing; the summary says how to keep it, in pytest's own words."""
    project.write(small_talk, TWO_CALLS)
    project.run("--callwise-update")
    project.write(small_talk, TWO_CALLS.replace("2)", "1)"))
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["below its baseline: *1.0 calls per turn*--callwise-update keeps it"]
    )


@pytest.mark.parametrize(
    "ending",
    [
        "        assert False\n",
        "        pytest.skip('no')\n",
        "        pytest.xfail('known')\n",
        "        raise KeyError\n",
    ],
)
def test_a_test_that_does_not_pass_writes_nothing(
    project: Any, small_talk: str, ending: str
) -> None:
    """Failed, skipped and expected to fail: what it asked is nothing to hold others to."""
    project.write(small_talk, TWO_CALLS, ending)
    project.run("--callwise-update")
    assert project.baselines() == []


def test_a_breach_or_a_broken_teardown_writes_nothing(project: Any, small_talk: str) -> None:
    """The mark and the teardown count too: a baseline is of a test that passed whole."""
    project.write(
        small_talk,
        """
    @pytest.mark.max_calls(turn=1)
    def test_breach(callwise):
        ask(callwise, 2)
        callwise.check(None, "breach")

    @pytest.fixture
    def broken():
        yield
        raise RuntimeError

    def test_teardown(callwise, broken):
        ask(callwise, 2)
        callwise.check(None, "teardown")

    @pytest.mark.xfail(strict=True)
    def test_strict(callwise):
        ask(callwise, 2)
        callwise.check(None, "strict")
    """,
    )
    project.run("--callwise-update").assert_outcomes(passed=1, failed=2, errors=1)
    assert project.baselines() == []


def test_all_baselines_may_be_in_one_folder(project: Any, small_talk: str) -> None:
    """The ini entry is taken from the root folder, wherever the test is."""
    project.configure("callwise_baselines = held/calls")
    project.write(small_talk, TWO_CALLS)
    project.run("--callwise-update").assert_outcomes(passed=1)
    assert (project.path / "held" / "calls" / "talk.json").exists()
    assert project.baselines() == []


def test_two_packages_may_use_one_name_in_one_folder(project: Any, small_talk: str) -> None:
    """The folder of all baselines has the folders of the tests in it."""
    project.configure("callwise_baselines = held")
    for package, count in (("shop", 2), ("bank", 3)):
        folder = project.path / package
        folder.mkdir()
        test = small_talk + TWO_CALLS.replace("2)", f"{count})")
        (folder / "test_talk.py").write_text(textwrap.dedent(test), encoding="utf-8")
    options = ("--import-mode=importlib",)
    project.run(*options, "--callwise-update").assert_outcomes(passed=2)
    written = sorted(
        path.relative_to(project.path) for path in project.path.rglob("held/**/*.json")
    )
    assert list(map(str, written)) == ["held/bank/talk.json", "held/shop/talk.json"]
    project.run(*options).assert_outcomes(passed=2)


@pytest.mark.parametrize("name", ["对话", "naïve", "हिन्दी", "réponse-2", "Ответ.1"])
def test_a_name_may_be_of_any_script(project: Any, small_talk: str, name: str) -> None:
    """Letters, digits and their accents; typed as one sign or as two, it is one file."""
    project.write(small_talk, TWO_CALLS.replace('"talk")', f'"{name}")'))
    project.run("--callwise-update").assert_outcomes(passed=1)
    assert project.baselines() == [f"{unicodedata.normalize('NFC', name)}.json"]
    apart = unicodedata.normalize("NFD", name)
    project.write(small_talk, TWO_CALLS.replace('"talk")', f'"{apart}")'))
    project.run().assert_outcomes(passed=1)


def test_a_program_that_asks_in_fewer_turns_is_refused(project: Any, small_talk: str) -> None:
    """It is no run of `callwise replay` that could be finished."""
    project.write(small_talk, TWO_CALLS)
    project.run("--callwise-update")
    project.write(small_talk, TWO_CALLS.replace('turn("talk", 0)', 'turn("other", 0)'))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["callwise.check('talk'): the run lacks *: turn 0 of 'talk'; the program asked nothing*"]
    )
    result.stdout.no_fnmatch_line("*callwise replay*")


@pytest.mark.parametrize("option", ["--callwise-update", "--callwise-record"])
def test_under_ci_nothing_is_written_unless_forced(
    project: Any, small_talk: str, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """An option that was left in a workflow would open the gate."""
    project.write(small_talk, TWO_CALLS)
    for value in ("false", "0", ""):
        monkeypatch.setenv("CI", value)
        assert project.run("--collect-only", option).ret == pytest.ExitCode.OK
    monkeypatch.setenv("CI", "true")
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} under CI * add --callwise-in-ci*"])
    assert project.baselines() == []
    project.run("--callwise-update", "--callwise-in-ci").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "name",
    [
        "../talk",
        "a/b",
        "",
        ".hidden",
        "a\\\\b",
        "x" * 101,
        "talk\\n",
        "对" * 70,
        "Con.x",
        "a.",
        "½/",
    ],
)
def test_a_name_is_no_path(project: Any, small_talk: str, name: str) -> None:
    """A name that could leave the folder is refused before anything is written."""
    project.write(small_talk, TWO_CALLS.replace('"talk")', f'"{name}")'))
    result = project.run("--callwise-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ConfigError: a baseline cannot be called*"])
    assert project.baselines() == []


def test_a_file_that_is_no_baseline_is_kept(project: Any, small_talk: str) -> None:
    """A file there that is no baseline is not overwritten, and the test fails with that reason."""
    path = project.path / "baselines" / "talk.json"
    path.parent.mkdir()
    path.write_text('{"mine": 1}', encoding="utf-8")
    project.write(small_talk, TWO_CALLS)
    result = project.run("--callwise-update")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*is no baseline and was not overwritten*"])
    assert path.read_text(encoding="utf-8") == '{"mine": 1}'


def test_a_torn_baseline_fails_and_is_made_again(project: Any, small_talk: str) -> None:
    """Half a file is a failure with the way out; with the option it is written whole."""
    project.write(small_talk, TWO_CALLS)
    project.run("--callwise-update")
    path = project.path / "baselines" / "talk.json"
    path.write_bytes(path.read_bytes()[:40])
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["callwise.check('talk'): *cut off*--callwise-update*"])
    result = project.run("--callwise-update")
    result.stdout.fnmatch_lines(
        ["baseline updated: *2.0 calls per turn*", "  the file before *cut off*--callwise-update"]
    )
    assert asked(project) == [{"-/main/other": 2}]


def test_two_tests_with_one_name_fail_the_run(project: Any, small_talk: str) -> None:
    """The second would overwrite the first, so the run ends red and names both."""
    project.write(small_talk, TWO_CALLS, TWO_CALLS.replace("2)", "3)").replace("_talk", "_other"))
    result = project.run("--callwise-update")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["baselines/talk.json was written by 2 tests, and not alike: *"])


def test_two_checks_of_one_name_fail_the_test(project: Any, small_talk: str) -> None:
    """Within a test the same is a failure of the test, and nothing is written."""
    project.write(
        small_talk, TWO_CALLS, '        ask(callwise, 1)\n        callwise.check(None, "talk")\n'
    )
    project.run("--callwise-update").assert_outcomes(failed=1)
    assert project.baselines() == []


def test_gates_are_named(project: Any, small_talk: str) -> None:
    """Tokens may be held too; latency has no gate, and the failure says why."""
    project.write(small_talk, TWO_CALLS.replace('"talk")', '"talk", "tokens=5%")'))
    project.run("--callwise-update").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)
    project.write(small_talk, TWO_CALLS.replace('"talk")', '"talk", "latency")'))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*latency is not gated*"])
