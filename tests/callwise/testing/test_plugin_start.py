"""Cost of the plugin at every start of pytest; it can be left out."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import callwise.testing.fixture  # noqa: F401 - loaded once for all inner runs

pytest_plugins = ("pytester",)

HEAVY = ("langgraph", "langchain_core", "openai", "numpy", "typer", "pydantic", "orjson", "yaml")
ENGINE = Path(__file__).parents[3] / "callwise"


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    """Every project that has it imports it, so it imports pytest and its own hooks alone."""
    code = (
        "import sys, pytest; before = set(sys.modules); import callwise.testing.plugin; "
        f"print(sorted(set({HEAVY!r}) & (set(sys.modules) - before)))"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_module_imports_the_insides_of_pytest() -> None:
    """Only the public API: what begins with an underscore changes between versions."""
    inside = re.compile(r"\b_pytest\b")
    found = [
        path for path in ENGINE.rglob("*.py") if inside.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_it_may_be_left_out(project: Any) -> None:
    """`-p no:callwise` takes fixture, mark and options away, and harms nothing else."""
    project.write("def test_plain(): pass\n")
    project.run("-p", "no:callwise").assert_outcomes(passed=1)
    result = project.run("-p", "no:callwise", "--callwise-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_test_that_does_not_use_it_prints_nothing(project: Any) -> None:
    """No summary where nothing was asked, and no failure of others' tests is touched."""
    project.write("def test_plain(): pass\ndef test_wrong(): assert 0\n")
    result = project.run("-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*calls asked*")


def test_mark_fixture_and_options_explain_themselves(project: Any) -> None:
    """`--markers`, `--fixtures` and `--help` say what they are."""
    project.run("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.max_calls(turn=16, judge=6, ...)*"]
    )
    project.run("--fixtures", "-q").stdout.fnmatch_lines(["*Run conversations and programs under*"])
    project.run("--help").stdout.fnmatch_lines(["*--callwise-update*", "*callwise_baselines*"])


def test_the_summary_lists_calls_by_test(project: Any, small_talk: str) -> None:
    """One line per test: calls, turns, the dearest turn, and what answered."""
    project.write(
        small_talk,
        """
    from callwise.testing.fakes import ScriptedClient

    def test_one(callwise):
        with callwise.turn("talk", 0):
            ask(callwise, 1)
        with callwise.turn("talk", 1):
            ask(callwise, 3)

    def test_two(callwise):
        ask(callwise, 1, client=ScriptedClient(lambda call: "yes"))
    """,
    )
    result = project.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*callwise: calls asked*",
            "*::test_one: 4 calls in 2 turns, at most 3 per turn (simulated)",
            "*::test_two: 1 call in 1 turn (scripted)",
        ]
    )
    project.run("-q").stdout.no_fnmatch_line("*::test_one: 4 calls*")


def test_an_asynchronous_test_is_checked(project: Any) -> None:
    """The mark and the baseline work where the test is a coroutine."""
    project.write(
        """
    import pytest
    from callwise.testing.fakes import ScriptedClient

    @pytest.mark.max_calls(turn=1)
    async def test_talk(callwise):
        model = callwise.model(client=ScriptedClient(lambda call: "yes"))
        with callwise.turn("talk", 0):
            await model.ainvoke("one")
            await model.ainvoke("two")
    """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["max_calls: turn 0 of talk asked 2 calls, allowed 1 (+1)*"])


@pytest.mark.slow
def test_a_mark_that_is_declared_needs_no_plugin(project: Any) -> None:
    """With the page's ini entry `--strict-markers` accepts the mark where the plugin is absent."""
    page = (Path(__file__).parents[3] / "docs" / "pytest.md").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^```ini\n\[pytest\]\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    test = """
        import pytest

        @pytest.mark.max_calls(turn=1)
        class TestTalk:
            def test_other(self):
                pass
    """
    project.write(test)
    result = project.run_apart("-p", "no:callwise")
    result.stdout.fnmatch_lines(["*'max_calls' not found in `markers` configuration option*"])
    project.configure(*entry.splitlines())
    project.run_apart("-p", "no:callwise").assert_outcomes(passed=1)
    project.run_apart().assert_outcomes(errors=1)
