"""`--app MODULE:FUNCTION`: a LangGraph program that is not built on Callwise, by every command."""

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = '''
    """A supervisor that asks one of two sub-agents, which both ask in a node named `model`."""

    from langchain_core.messages import SystemMessage
    from langgraph.graph import START, MessagesState, StateGraph

    PROMPT, AGENT = "Be kind.", "researcher"


    def agent(model, name):
        async def ask(state: MessagesState):
            said = [SystemMessage(f"You are the {name}."), *state["messages"]]
            return {"messages": [await model.ainvoke(said)]}

        graph = StateGraph(MessagesState).add_node("model", ask)
        return graph.add_edge(START, "model").compile(name=name)


    def build(model):
        agents = {name: agent(model, name) for name in ("researcher", "writer")}

        async def supervise(state: MessagesState):
            answer = await model.ainvoke([SystemMessage(PROMPT), *state["messages"]])
            asked = {"messages": [*state["messages"], answer]}
            return dict(await agents[AGENT].ainvoke(asked))

        graph = StateGraph(MessagesState).add_node("supervise", supervise)
        return graph.add_edge(START, "supervise").compile()
'''
_numbers = itertools.count()


@pytest.fixture
def write_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that writes the program, with changes, and returns its import string."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(**changes: str) -> str:
        # A name of its own: a module is imported once in a process.
        name = f"program_of_test_{next(_numbers)}"
        text = textwrap.dedent(PROGRAM)
        for constant, value in changes.items():
            assert constant in text
            text = text.replace(constant, value)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return f"{name}:build"

    return write


def _rename(path: Path, before: str, now: str) -> None:
    """Let a run be of another import string: the file that a user would have edited in place."""
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace(before, now), encoding="utf-8")


def test_a_program_is_recorded_replayed_and_gated(
    cli: Any, talk: Path, write_program: Callable[..., str]
) -> None:
    """Four commands; the replay sends nothing, and the gate is exact."""
    app = write_program()
    commands = (
        ("replay", talk, "--app", app, "--record", "c.jsonl", "--out", "recorded"),
        ("check", "recorded", "-b", "b.json", "--update"),
        ("replay", talk, "--app", app, "--cassette", "c.jsonl", "--out", "run"),
        ("check", "run", "-b", "b.json", "--gate", "tokens"),
    )
    for command in commands:
        result = cli(*command)
        assert result.exit_code == 0, result.output
    assert result.stdout == "ok: 2.0 calls per turn over 3 turns (simulated), as in b.json\n"
    baseline = Path("b.json").read_text(encoding="utf-8")
    assert '"supervise/main/other":1,"supervise/researcher/model/main/other":1' in baseline
    assert '"supervise/researcher/model":"' in baseline.partition('"prompts"')[2]
    report = cli("report", "run")
    assert report.exit_code == 0, report.output
    assert "supervise/researcher/model" in report.stdout
    assert cli("report", "run", "--html", "run.html").exit_code == 0


def test_a_call_that_changes_between_sub_agents_is_found(
    cli: Any, talk: Path, write_program: Callable[..., str]
) -> None:
    """Both ask in a node named `model`, and as often as before."""
    app = write_program()
    cli("replay", talk, "--app", app, "--out", "before")
    cli("check", "before", "-b", "b.json", "--update")
    moved = write_program(**{'"researcher"\n': '"writer"\n'})
    assert cli("replay", talk, "--app", moved, "--out", "after").exit_code == 0
    _rename(Path("after"), moved, app)
    result = cli("check", "after", "-b", "b.json")
    assert result.exit_code == 1
    assert "supervise/writer/model other 0 -> 1 (new), turn 0 of talk and 2 more" in result.stdout
    assert "2 knobs and prompts changed" not in result.stdout


def test_a_prompt_that_changed_is_the_cause(
    cli: Any, talk: Path, write_program: Callable[..., str]
) -> None:
    """A finding names the node whose system message is another one."""
    app = write_program()
    cli("replay", talk, "--app", app, "--out", "before")
    cli("check", "before", "-b", "b.json", "--update")
    changed = write_program(**{'"Be kind."': '"Be kind, and say a lot more than you did before."'})
    cli("replay", talk, "--app", changed, "--out", "after")
    _rename(Path("after"), changed, app)
    result = cli("check", "after", "-b", "b.json", "--gate", "tokens")
    assert result.exit_code == 1
    assert "since prompt supervise changed" in result.stdout


def test_a_changed_prompt_is_a_miss_in_a_strict_replay(
    cli: Any, talk: Path, write_program: Callable[..., str]
) -> None:
    """It names the node and the first difference, with exit code 1."""
    cli("replay", talk, "--app", write_program(), "--record", "c.jsonl")
    changed = write_program(**{'"Be kind."': '"Be brief."'})
    result = cli("replay", talk, "--app", changed, "--cassette", "c.jsonl")
    assert result.exit_code == 1
    assert "node supervise" in result.stderr
    assert "recorded: 'Be kind.'" in result.stderr


def test_the_same_commands_after_a_change_find_it(
    cli: Any, talk: Path, write_program: Callable[..., str], tmp_path: Path
) -> None:
    """A strict replay into a finished folder runs again; a build that raises leaves no turn."""
    app = write_program()
    file = tmp_path / f"{app.partition(':')[0]}.py"
    program = file.read_text("utf-8")
    play = ("replay", talk, "--app", app, "--cassette", "c.jsonl", "--out", "run")
    cli("replay", talk, "--app", app, "--record", "c.jsonl", "--out", "recorded")
    cli("check", "recorded", "-b", "b.json", "--update")
    for changed, status, found in (
        (program, (0, 0), "ok: "),
        (program.replace('"researcher"\n', '"writer"\n'), (1, 2), "no finished turn"),
        (
            program.replace("def build(model):", "def build(model):\n    1 / 0"),
            (2, 2),
            "no finished",
        ),
        (program, (0, 0), "ok: "),
    ):
        file.write_text(changed, encoding="utf-8")
        sys.modules.pop(file.stem, None)
        importlib.invalidate_caches()
        replayed, checked = cli(*play), cli("check", "run", "-b", "b.json")
        assert (replayed.exit_code, checked.exit_code) == status, replayed.output
        assert found in checked.output


def test_a_misspelt_app_is_named(
    cli: Any, talk: Path, write_program: Callable[..., str], tmp_path: Path
) -> None:
    """A function that is not there, a file in place of a module, and a preset to extend."""
    app = write_program()
    module = app.partition(":")[0]
    (tmp_path / "mine.yaml").write_text("extends: frugal\n", encoding="utf-8")
    for wrong, said in (
        ((f"{module}:biuld",), f"{module} has no 'biuld'; did you mean build?"),
        ((f"{module}.py:build",), f"did you mean {module}:build?"),
        ((app, "--preset", "mine.yaml"), "has none to extend: drop `extends`"),
    ):
        result = cli("replay", talk, "--app", *wrong)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())


def test_turns_without_a_reply_are_named_in_a_new_baseline(
    cli: Any, talk: Path, write_program: Callable[..., str]
) -> None:
    """A sub-agent that is never reached would be no part of the gate."""
    app = write_program(
        **{"return dict(await agents[AGENT].ainvoke(asked))": 'return {"messages": []}'}
    )
    assert cli("replay", talk, "--app", app, "--out", "run").exit_code == 0
    made = cli("check", "run", "-b", "b.json", "--update")
    assert made.exit_code == 0
    assert "no reply in turn 0 of talk and 2 more turns: the baseline keeps that" in made.stderr
    assert "degraded: no reply (3)" in made.stderr


def test_an_app_without_a_plan_is_an_error_with_the_way_out(
    cli: Any, write_program: Callable[..., str]
) -> None:
    """A program has no plan, one preset, and its own knobs."""
    app = write_program()
    result = cli("plan", "--app", app)
    assert result.exit_code == 2
    assert "are not known before it runs: record it (callwise replay CONVERSATION" in result.stderr
    assert "\ndefault  known once it is recorded" in cli("presets", "--app", app).stdout
    assert "budget.turn.max_calls" in cli("knobs", "--app", app).stdout


def test_one_message_and_a_conversation(cli: Any, write_program: Callable[..., str]) -> None:
    """`run` and `chat` work without the figures that a program has not."""
    app = write_program()
    result = cli("run", "Hello.", "--app", app)
    assert result.exit_code == 0, result.output
    assert "2 calls" in result.output
    result = cli("chat", "--app", app, stdin="Hello.\nAnd you?\n")
    assert result.exit_code == 0, result.output
    assert "[turn 1: 2 calls; simulated]" in result.stderr


def test_a_program_that_fails_is_one_line(
    cli: Any, talk: Path, write_program: Callable[..., str]
) -> None:
    """The error names turn, kind, file and line; no traceback."""
    broken = write_program(**{"        return dict(": "        return dict(3 + "})
    result = cli("replay", talk, "--app", broken)
    assert result.exit_code == 1
    (line,) = [each for each in result.stderr.splitlines() if "ProgramFailed" in each]
    assert "turn 0 of 'talk': the program raised TypeError at " in line
    assert ".py:25: " in line
