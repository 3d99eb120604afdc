"""A user's own `graph.py`, `nodes.py` and `lats/` next to the shipped packages of those names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import callwise
from callwise.shipped import conversation_path

ROOT = Path(callwise.__file__).resolve().parents[1]

RAISES = 'raise SystemExit("a file of the user was imported")\n'

AGENT = """
from langgraph.graph import START, MessagesState, StateGraph

import nodes
from lats.words import QUESTION


def build(model):
    def answer(state):
        assert QUESTION == "Why?"
        return {"messages": [model.invoke(nodes.shortened(state["messages"]))]}

    graph = StateGraph(MessagesState).add_node("answer", answer)
    return graph.add_edge(START, "answer").compile()
"""


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a folder, which is first on `sys.path`, as in a notebook."""
    environment = {name: text for name, text in os.environ.items() if "CALLWISE" not in name}
    return subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """Return a folder whose `graph.py`, `nodes.py` and `lats/` must not be imported."""
    (tmp_path / "lats").mkdir()
    for name in ("graph.py", "nodes.py", "lats/__init__.py"):
        (tmp_path / name).write_text(RAISES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """Return a folder with a program in `graph.py`, and its own `nodes.py` and `lats/`."""
    (tmp_path / "lats").mkdir()
    (tmp_path / "graph.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / "nodes.py").write_text("def shortened(messages):\n    return messages[-1:]\n")
    (tmp_path / "lats" / "__init__.py").touch()
    (tmp_path / "lats" / "words.py").write_text('QUESTION = "Why?"\n', encoding="utf-8")
    return tmp_path


TALK = str(conversation_path("en_moving_city.jsonl"))

COMMANDS = (
    ("plan",),
    ("demo",),
    ("replay", TALK, "--preset", "instant", "--max-turns", "1", "--out", "out"),
)


@pytest.mark.parametrize(
    "arguments",
    [COMMANDS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in COMMANDS[1:])],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("start", ["-m", "-c"])
def test_commands_run_the_shipped_packages(
    strangers: Path, start: str, arguments: tuple[str, ...]
) -> None:
    """With `python -m`, and where the working directory stays first on `sys.path`."""
    code = "callwise" if start == "-m" else "from callwise.cli.main import main; main()"
    done = run(strangers, start, code, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_plan_in_python_runs_the_shipped_packages(strangers: Path) -> None:
    """In a notebook too, where the working directory is first on `sys.path`."""
    done = run(strangers, "-c", "import callwise as cw; print(cw.plan('classic'))")
    assert done.returncode == 0, done.stderr
    assert "classic" in done.stdout


@pytest.mark.slow
def test_a_sweep_in_other_processes_runs_the_shipped_packages(strangers: Path) -> None:
    """Worker processes begin with the same `sys.path`."""
    code = f"""
import callwise as cw
cw.replay({TALK!r}, "run", preset="instant")
found = cw.tune("run", "sweep", knobs={{"search.max_calls": [1, 2]}}, jobs=2, max_turns=2)
print(len(found.rows))
"""
    (strangers / "sweep.py").write_text(code, encoding="utf-8")
    done = run(strangers, "sweep.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4"


@pytest.mark.slow
def test_the_plugin_runs_the_shipped_packages(strangers: Path) -> None:
    """With the tests' root folder on `sys.path`, as `pythonpath` and `rootdir` put it."""
    test = "def test_reply(callwise):\n    assert callwise.replay({!r}, preset='instant').turns\n"
    (strangers / "test_reply.py").write_text(test.format(TALK), encoding="utf-8")
    options = ("-q", "-p", "no:cacheprovider", "-o", "pythonpath=.")
    done = run(strangers, "-m", "pytest", *options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_an_app_in_a_users_graph_is_the_users(agent: Path) -> None:
    """`--app graph:build` is the file in the working directory, and so are its imports."""
    options = ("--set", "endpoints.main.kind=simulated", "--max-turns", "1", "--out", "out")
    done = run(agent, "-m", "callwise", "replay", TALK, "--app", "graph:build", *options)
    assert done.returncode == 0, done.stderr
    row = json.loads((agent / "out" / "ledger.jsonl").read_text(encoding="utf-8"))
    assert (row["node"], row["outcome"]) == ("answer", "served")


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["import graph", "import nodes", "import callwise as cw; cw.plan(app='graph:build')"]
)
def test_a_users_module_that_is_imported_already_is_named(agent: Path, first: str) -> None:
    """The error names its file and the ways out; the shipped app is not half of each."""
    code = f"""
import callwise as cw
try:
    {first}
except cw.plan.__globals__["ConfigError"]:
    pass
cw.plan()
"""
    done = run(agent, "-c", code)
    name = "nodes" if "nodes" in first else "graph"
    assert done.returncode == 1
    assert f"{agent.resolve() / name}.py as `{name}`" in done.stderr
    assert "Rename these files" in done.stderr


@pytest.mark.slow
def test_shipped_packages_that_are_imported_already_are_named(agent: Path) -> None:
    """A user's app of that name is not loaded half, from the shipped package."""
    code = """
import callwise as cw
cw.plan()
cw.plan(app="graph:build")
"""
    done = run(agent, "-c", code)
    assert done.returncode == 1
    assert f"the app is in {agent.resolve() / 'graph.py'}" in done.stderr
