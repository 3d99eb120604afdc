"""Tables as text, Markdown, CSV and JSON; untrusted text stays text in all of them."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from callwise.report import load_run, summarise, to_json, to_markdown, to_text
from callwise.report.run_forms import headline
from callwise.report.table import (
    MAX_TURN_ROWS,
    Share,
    Table,
    cell_text,
    guarded,
    markdown_table,
    plain_table,
    table_json,
    tables_text,
    to_csv,
    unguarded,
)
from callwise.text_layout import EVERYTHING, Screen

RunWriter = Callable[..., Path]


RowMaker = Callable[..., dict[str, Any]]


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


def test_text_is_plain_where_nothing_is_known_of_the_screen() -> None:
    """Neither lines nor colours, and every column."""
    assert tables_text([TABLE], screen=EVERYTHING) == plain_table(TABLE)
    assert "\x1b" not in plain_table(TABLE)


def test_a_colour_ends_with_its_line_and_markup_in_a_cell_stays_text() -> None:
    """A title, heads and totals have colours; the escapes in a cell are gone."""
    text = plain_table(TABLE, screen=Screen(width=100, is_styled=True))
    assert re.sub(r"\x1b\[\d*m", "", text) == plain_table(TABLE)
    assert text.startswith("\x1b[1mBy turn\x1b[0m\n")
    assert "[red]会话[/red]\ufffd[31m" in text


def test_columns_that_do_not_fit_are_named() -> None:
    """The last ones first, or those that the table names; a number is never cut."""
    shown = plain_table(TABLE, screen=Screen(width=30))
    assert shown.splitlines() == [
        "By turn",
        "conversation          asked",
        "[red]会话[/red]\ufffd[31m  1,234",
        "two                       5",
        "Not shown: usd (COLUMNS=36",
        "  shows all)",
    ]
    folding = replace(TABLE, folds=("asked",))
    assert plain_table(folding, screen=Screen(width=30)).splitlines()[3] == (
        "two                    0.1235"
    )


def test_the_headline_comes_first(write_run: RunWriter) -> None:
    """Turns, calls and what they spent, with unknown costs said and not shown as 0."""
    run = load_run(write_run())
    text = to_text(summarise(run.rows, run.turns, wall_seconds=1.0))
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


FORMULAS = [
    f"{blank}{start}HYPERLINK(A1)"
    for blank in (
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        " \t ",
        "\u00a0",
        "\u3000",
        "\ufeff",
        "\u200b",
        "\x00",
    )
    for start in "=+-@＝＋－＠﹦"
] + ["\tx", "\rx", "\nx"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_is_guarded(text):
    """After any blanks and invisible marks, in half and full width."""
    assert guarded(text) == f"'{text}"


@given(st.text(alphabet=st.sampled_from("=+-@＝ \t\n\r'\ufeffa1,\"|")))
def test_a_guard_can_be_taken_off(text):
    """With any beginning of the text, an apostrophe too."""
    assert unguarded(guarded(text)) == text


@given(st.text())
def test_a_text_without_a_start_of_a_formula_is_left_as_it_is(text):
    """The guard is for what is dangerous alone."""
    if guarded(text) == text:
        assert not re.match(r"[\s\ufeff]*[=+@＝＋－＠-]|[\t\r\n]", text)


def table(*texts):
    """Return a table of one row."""
    names = tuple(f"c{number}" for number in range(len(texts)))
    return Table("by_turn", "Turns", names, (texts,))


def test_a_reports_csv_has_no_formula():
    """In no cell, and each cell in its place."""
    (_, cells) = csv.reader(io.StringIO(to_csv(table(*FORMULAS))))
    assert len(cells) == len(FORMULAS)
    assert all(cell.lstrip().startswith(("'", "\ufffd")) for cell in cells)


LINKED = [
    "@team",
    "a@team",
    "x#12",
    "#12",
    "owner/repo#12",
    "GH-12",
    "gh-12",
    "!12",
    "%12",
    "~label",
    "https://evil.example",
    "HTTP://evil.example",
    "ftp://evil.example",
    "www.evil.example",
    "me@evil.example",
    "mailto:me@evil.example",
    "<https://evil.example>",
    "[x](https://e.example)",
    "![x](//e.example/p.png)",
    "<img src=x onerror=alert(1)>",
    "a|b",
    "`a",
    "a\nb",
    "\u202egpj",
    "$\\infty$",
    "<!-- x",
]


REFERENCE = re.compile(r"(?i)[@#!%~$&]\w|://|\bwww\.|\bgh-\d|[\u202a-\u202e\u2066-\u2069]|\n")


@pytest.mark.parametrize("text", LINKED)
def test_text_in_markdown_links_mentions_and_formats_nothing(text):
    """Read as a forge reads it: one cell, no element but the table's, no reference."""
    rendered = (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .render(markdown_table(table(text, "next")))
    )
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered))
    assert tags <= {"h3", "table", "thead", "tbody", "tr", "th", "td"}
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rendered)
    assert len(cells) == 2
    assert REFERENCE.search(cells[0].replace("&lt;", "<").replace("&gt;", ">")) is None


def test_a_number_too_large_for_a_float_is_shown() -> None:
    """A cell of an edited file may be any whole number."""
    assert cell_text(10**400) == f"{10**400:,}"
    assert cell_text(1234567) == "1,234,567"


NASTY = "=SUM(1)|<b>*x*</b>\n[a](b) `c` \x1b[31m_d_"


def _table(*rows: tuple[Any, ...]) -> Table:
    return Table("by_turn", "By turn", ("conversation", "usd"), rows)


def test_csv_reads_back() -> None:
    """Numbers stay numbers, unknown is empty, and no cell is a formula."""
    text = to_csv(_table((NASTY, None), ('a "b", c', 0.25)))
    header, nasty, plain = csv.reader(io.StringIO(text))
    assert header == ["conversation", "usd"]
    assert nasty[0].startswith("'=SUM(1)|")
    assert "\n" not in nasty[0]
    assert "\x1b" not in nasty[0]
    assert nasty[1] == ""
    assert plain == ['a "b", c', "0.25"]


def test_markdown_shows_text_as_text() -> None:
    """Nothing in a cell is markup, and no cell ends its row."""
    row = markdown_table(_table((NASTY, None))).splitlines()[-1]
    cells = row.replace("\\|", "").split("|")
    assert len(cells) == 4
    assert cells[2].strip() == "unknown"
    for mark in "<>*[]`_":
        assert f"\\{mark}" in row
    assert "<b>" not in row
    assert "\x1b" not in row


def test_markdown_aligns_numbers_right() -> None:
    """A column with text is aligned left, one without right."""
    assert "|---|---:|" in markdown_table(_table(("a", 1.5)))


def test_json_holds_everything(write_run: RunWriter) -> None:
    """Totals and all tables, in one line."""
    run = load_run(write_run())
    text = to_json(summarise(run.rows, run.turns, plan=run.plan))
    document = json.loads(text)
    assert text.count("\n") == 1
    assert document["totals"]["asked"] == 4
    assert set(document["tables"]) == {
        "by_node",
        "by_role",
        "by_purpose",
        "plan",
        "scenarios",
        "time",
        "by_turn",
    }
    assert document["tables"]["by_node"][0]["node"] == "detection"


def test_markdown_cuts_the_long_table_only_among_others(write_run: RunWriter) -> None:
    """A hundred turns are not listed beneath everything else; what is cut is said."""
    turns = [{"conversation_id": "one", "turn": turn, "reply": "x"} for turn in range(30)]
    run = load_run(write_run(rows=[], turns=turns))
    tables = summarise(run.rows, run.turns)
    assert f"{30 - MAX_TURN_ROWS} more rows" in to_markdown(tables)
    assert "more rows" not in markdown_table(tables.by_turn)
    assert "29" in markdown_table(tables.by_turn).splitlines()[-1]


def test_a_table_has_a_cell_a_column() -> None:
    """A row that is too short is a mistake of ours."""
    with pytest.raises(ValueError, match="2 columns and a row of 1"):
        _table(("a",))


def test_a_share_is_per_cent_for_people_and_a_number_for_machines() -> None:
    """One digit after the point; nearly none is not none, and nearly all is not all."""
    shares = [1 / 13, 0.0, 1.0, 0.5, 0.0001, 0.99999]
    shown = ["7.7 %", "0 %", "100 %", "50 %", "< 0.1 %", "> 99.9 %"]
    assert [cell_text(Share(each)) for each in shares] == shown
    found = Table("time", "Time", ("share",), ((Share(1 / 13),),))
    assert to_csv(found) == f"share\n{1 / 13}\n"
    assert json.dumps(table_json(found)) == f'[{{"share": {1 / 13}}}]'
