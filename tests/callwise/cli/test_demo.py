"""`callwise demo` shows a turn on one screen, and sends nothing."""

from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
from langgraph.graph import START, MessagesState, StateGraph


def build(model):
    def answer(state: MessagesState):
        return {"messages": [model.invoke(state["messages"])]}

    return StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile()
"""


def test_the_demo_is_one_screen(cli: Any) -> None:
    """All parts in 45 lines of 80 columns; a winner with the highest score, and its reason."""
    shown = cli("demo")
    assert shown.exit_code == 0, shown.output
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80
    text = " ".join(shown.stdout.split())
    for part in (
        "preset classic, simulated)",
        "(a block per call, shades alternate)",
        "virtual seconds 0",
        "asked 5 calls: ",
        "cut 11 calls: ",
        "16 calls replayed, calls sent: 0;",
        "bytes of the turn, equal: yes",
        "callwise endpoints check",
        "CALLWISE_BASE_URL=",
    ):
        assert part in text, part
    tree = shown.stdout.partition("ITS SEARCH")[2].partition("* won:")[0]
    scores = [float(word.strip("*")) for word in tree.split() if word[:2] in {"0.", "1."}]
    assert len(set(scores)) == len(scores) > 3
    won = shown.stdout.partition("* won: ")[2].splitlines()[0]
    score, _, reason = won.partition(". ")
    assert float(score) == max(scores)
    assert reason
    # It takes up the message, which is about a move.
    assert "the move" in text.partition(" reply ")[2].partition("2. ITS CALLS")[0]


@pytest.mark.slow
def test_the_demo_sends_nothing(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint in the environment is not asked: a demo costs nothing."""
    monkeypatch.setenv("CALLWISE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "m")
    shown = cli("demo")
    assert shown.exit_code == 0, shown.stderr
    assert "equal: yes" in shown.stdout
    assert "failed" not in shown.stdout


@pytest.mark.slow
def test_a_program_of_another_shape_has_no_tree(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program schedules its calls itself: they are counted, and not drawn in time."""
    (tmp_path / "demo_program.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    shown = cli("demo", "--app", "demo_program:build")
    assert shown.exit_code == 0, shown.output
    assert "1 call: answer" in shown.stdout
    assert "cut    0 calls" in shown.stdout
    assert "SEARCH" not in shown.stdout
