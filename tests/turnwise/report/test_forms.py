"""Tables as CSV, JSON and Markdown."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnwise.report import Table, load_run, summarise, to_csv, to_json, to_markdown
from turnwise.report.forms import MAX_TURN_ROWS, markdown_table

RunWriter = Callable[..., Path]

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
    """A column with text stands left, one without right."""
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
