"""Untrusted text in CSV cells and in Markdown: shown, never run, never linked."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from turnwise.report.cells import Table, cell_text, guarded, unguarded
from turnwise.report.forms import markdown_table, to_csv

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
    """Whatever the text begins with, an apostrophe of its own too."""
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
