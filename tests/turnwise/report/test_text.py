"""Tables for a terminal."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnwise.report import Table, load_run, summarise, to_text
from turnwise.report.headline import headline
from turnwise.report.text import plain_table, tables_text

RunWriter = Callable[..., Path]
RowMaker = Callable[..., dict[str, Any]]


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
    assert text.splitlines()[:5] == [
        "2 turns, 1 reply (simulated)",
        "1 of 2 turns degraded: reasoner (1)",
        "4 calls asked = 3 served + 1 cached",
        spent,
        "calls per turn: mean 2, p50 1, p95 3, max 3",
    ]
    assert "wall clock: 1.00 s" in text


DOWN = {
    "node": "lats_search",
    "reason": "down",
    "detail": "judge at localhost-8001 is down: connection refused",
    "role": "judge",
    "endpoint": "localhost-8001",
}
FAILED = {"node": "lats_search", "reason": "failed", "detail": "no usable judgement"}


def test_what_is_down_is_named_in_the_second_line(write_run: RunWriter, turn_row: RowMaker) -> None:
    """With the turns that it cost; a cause counts once a turn, the most frequent first."""
    reasoner = {"node": "reasoner", "reason": "invalid", "detail": "no object"}
    turns = [
        turn_row(degraded=[FAILED, DOWN]),
        turn_row(1, degraded=[FAILED, DOWN, reasoner]),
        turn_row(2, degraded=[reasoner, reasoner]),
        turn_row(3, degraded=[DOWN]),
        turn_row(4),
    ]
    run = load_run(write_run(rows=[], turns=turns))
    assert headline(summarise(run.rows, run.turns))[1] == (
        "4 of 5 turns degraded: judge at localhost-8001 is down (3), lats_search failed (2), "
        "reasoner invalid (2)"
    )


def test_many_causes_are_cut_and_odd_ones_are_shown_harmless(
    write_run: RunWriter, turn_row: RowMaker
) -> None:
    """Five are named; control characters do not reach the terminal."""
    rows = [{"node": f"node{place}\x1b[31m", "reason": "failed"} for place in range(7)]
    run = load_run(write_run(rows=[], turns=[turn_row(degraded=rows)]))
    line = headline(summarise(run.rows, run.turns))[1]
    assert line.endswith("and 2 more")
    assert line.isprintable()


def test_unreadable_answers_and_repairs_follow_the_outcomes(
    write_run: RunWriter, call_row: RowMaker, turn_row: RowMaker
) -> None:
    """In the line of calls, and only where there are some."""
    rows = [call_row(is_unreadable=True), call_row(is_unreadable=True, repair=1), call_row()]
    run = load_run(write_run(rows=rows, turns=[turn_row()]))
    assert headline(summarise(run.rows, run.turns))[1] == (
        "3 calls asked = 3 served; 2 unreadable answers; 1 repair"
    )


def test_an_empty_table_is_its_head() -> None:
    """Nothing to show is shown as nothing."""
    assert plain_table(Table("plan", "No plan", ("figure",), ())) == "No plan\nfigure\n"
