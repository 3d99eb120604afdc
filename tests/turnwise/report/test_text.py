"""Tables for a terminal."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from turnwise.report import Table, load_run, summarise, to_text
from turnwise.report.text import plain_table, tables_text

RunWriter = Callable[..., Path]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TABLE = Table(
    "by_turn",
    "By turn",
    ("conversation", "asked", "refused", "usd"),
    (("[red]会话[/red]\x1b[31m", 1234, 0, None), ("two", 5, 0, 0.123456)),
)


def test_plain_tables_are_aligned_and_without_empty_columns() -> None:
    """Numbers stand under their heads, wide characters count twice, zeros are left out."""
    assert plain_table(TABLE).splitlines() == [
        "By turn",
        "conversation          asked      usd",
        "[red]会话[/red]\ufffd[31m  1,234  unknown",
        "two                       5   0.1235",
    ]


def test_a_file_gets_plain_text() -> None:
    """What is no terminal gets neither lines nor colour."""
    assert tables_text([TABLE], stream=io.StringIO()) == plain_table(TABLE)


def test_a_terminal_gets_drawn_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markup in a cell stays text, and its escapes are gone."""
    monkeypatch.setenv("COLUMNS", "100")
    text = tables_text([TABLE], stream=_Terminal())
    assert "━" in text
    assert "[red]会话[/red]\ufffd[31m" in text


def test_a_narrow_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is never cut to fit."""
    monkeypatch.setenv("COLUMNS", "30")
    assert tables_text([TABLE], stream=_Terminal()) == plain_table(TABLE)


def test_the_headline_comes_first(write_run: RunWriter) -> None:
    """Turns, calls and what they spent, with unknown costs said and not shown as 0."""
    run = load_run(write_run())
    text = to_text(summarise(run.rows, run.turns, wall_seconds=1.0), stream=io.StringIO())
    spent = (
        "5 requests, 5 attempts; 300 tokens in, 30 out and unknown for 2 requests; "
        "USD unknown (1.000000 of it known)"
    )
    assert text.splitlines()[:4] == [
        "2 turns, 1 reply, 1 turn with a node that went on without its call (simulated)",
        "4 calls asked = 3 served + 1 cached",
        spent,
        "calls per turn: mean 2, p50 1, p95 3, max 3",
    ]
    assert "wall clock: 1.00 s" in text


def test_an_empty_table_is_its_head() -> None:
    """Nothing to show is shown as nothing."""
    assert plain_table(Table("plan", "No plan", ("figure",), ())) == "No plan\nfigure\n"
