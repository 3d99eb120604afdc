"""Notebook output: a figure, a run, a plan, or the calls of a budgeter.

JupyterLab draws the Vega-Lite specification of a figure by itself. A code host's page, a printout
and other viewers show the picture. Tables are HTML in a notebook, in the colours of its theme,
Markdown where a viewer takes no HTML, and text elsewhere.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

from callwise.budget.budgeter import Budgeter
from callwise.budget.counters import ScopeStatistics
from callwise.budget.scope import Scope
from callwise.calls.call import Outcome
from callwise.optional_library import loaded
from callwise.plans import TurnPlan, plan_rows
from callwise.report import RunRecord, Table, brief_text, load_run, summarise
from callwise.report.run_forms import headline
from callwise.report.table import (
    cell_text,
    escaped_markdown,
    is_text_column,
    markdown_table,
    plain_table,
    shown_places,
)
from callwise.safe_text import printable
from callwise.text_layout import print_screen
from callwise.tuning.figures import (
    CallsByNode,
    CallsOverTurns,
    FigureData,
    Timeline,
    Tradeoff,
    Waterfall,
    figure_bytes,
    to_vega,
)

__all__ = [
    "VEGA_LITE_MIME",
    "HasForms",
    "HasLLM",
    "NotebookFigure",
    "NotebookText",
    "show",
    "tables_html",
]

VEGA_LITE_MIME = "application/vnd.vegalite.v5+json"
"""The type of output that JupyterLab draws as Vega-Lite."""

_PNG_SCALE, _PNG_COLOURS = 1.0, 64
"""Notebooks are kept in version control, so their pictures are small."""


@dataclass(frozen=True, slots=True)
class NotebookFigure:
    """A figure as the last value of a cell."""

    record: FigureData

    def __repr__(self) -> str:
        """Return title and caption, for viewers without pictures."""
        return f"{self.record.title}. {self.record.caption}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return every form of the figure, for Jupyter to choose from."""
        return {
            VEGA_LITE_MIME: to_vega(self.record),
            "image/png": base64.b64encode(_picture(self.record)).decode("ascii"),
            "text/plain": repr(self),
        }


def _picture(record: FigureData) -> bytes:
    drawn = BytesIO(figure_bytes(record, "png", png_scale=_PNG_SCALE))
    picture = loaded("PIL.Image").open(drawn).convert("RGB").quantize(_PNG_COLOURS)
    out = BytesIO()
    picture.save(out, format="png", optimize=True)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class NotebookText:
    """Tables as the last value of a cell; `print` shows them as text."""

    text: str
    markdown: str
    html: str

    def __repr__(self) -> str:
        """Return the tables as text."""
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return every form, for Jupyter to choose from."""
        return {"text/html": self.html, "text/markdown": self.markdown, "text/plain": self.text}


class HasLLM(Protocol):
    """A chat model of `wrap`: it asks a budgeter."""

    llm: Any


@runtime_checkable
class HasForms(Protocol):
    """Text that a notebook shows by itself, such as a `TuneResult`."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return every form, for Jupyter to choose from."""
        ...


@overload
def show(found: FigureData) -> NotebookFigure: ...


@overload
def show(
    found: RunRecord
    | TurnPlan
    | Budgeter
    | Scope
    | ScopeStatistics
    | HasLLM
    | HasForms
    | tuple[str, ...]
    | str
    | Path,
) -> NotebookText: ...


def show(found: object) -> NotebookFigure | NotebookText:
    """Return a record in the form that a notebook draws and `print` writes.

    Args:
        found: a figure's record (of `callwise.tuning.figures`, or `TuneResult.tradeoff`); a run,
            of `replay` or by the path of its folder, for calls by node (`callwise report` has
            more); a plan, of `plan`; or a budgeter, one of its scopes or its statistics, or a
            chat model of `wrap`, for their calls by node; a result of `tune` or `check`; or
            names, such as those of `presets`.

    Raises:
        TypeError: for anything else.
        FormatError: for a path that is not that of a run's folder.
    """
    found = getattr(found, "llm", found)
    if isinstance(found, str | Path):
        found = load_run(Path(found))
    match found:
        case RunRecord():
            tables = summarise(
                found.rows, found.turns, plan=found.plan, is_simulated=found.is_simulated
            )
            brief = [_narrow(table) for table in (tables.by_node, tables.scenarios) if table]
            text, lines = brief_text(tables), headline(tables)
            return NotebookText(text, _markdown(lines, brief), tables_html(lines, brief))
        case TurnPlan():
            return _plan_text(found)
        case Budgeter():
            return _calls_by_node(found.run.statistics())
        case Scope():
            return _calls_by_node(found.statistics())
        case ScopeStatistics():
            return _calls_by_node(found)
        case NotebookFigure():
            return found
        case Tradeoff() | CallsByNode() | CallsOverTurns() | Waterfall() | Timeline():
            return NotebookFigure(found)
    return _text_of(found)


def _plan_text(found: TurnPlan) -> NotebookText:
    rows = plan_rows(found, screen=print_screen())  # a row that wraps has several lines
    lines = [printable(line) for row in rows for line in row.split("\n")]
    plain = "\n".join(lines)
    markdown = "\n".join(f"    {line}" for line in lines)
    return NotebookText(plain, markdown, f"<pre>{escape(plain)}</pre>")


def _text_of(found: object) -> NotebookText:
    """Return names, or anything that a notebook shows as text, in every form."""
    if isinstance(found, HasForms):
        forms = found._repr_mimebundle_()
        text = forms["text/plain"]
        html = forms.get("text/html") or f"<pre>{escape(text)}</pre>"
        return NotebookText(text, forms.get("text/markdown", text), html)
    if isinstance(found, tuple) and found and all(isinstance(name, str) for name in found):
        names = Table("names", "Names", ("name",), tuple((name,) for name in found))
        plain = "\n".join(map(printable, found))
        return NotebookText(plain, markdown_table(names), tables_html([], [names]))
    raise TypeError(
        f"a {type(found).__name__} cannot be shown. Give a figure, a run or the path of its "
        "folder, a plan, a budgeter or one of its scopes, a chat model of `wrap`, a result of "
        "`tune`, or names"
    )


def _narrow(table: Table) -> Table:
    """Return a table without columns that are all 0 or blank."""
    places = shown_places(table)
    columns = tuple(table.columns[place] for place in places)
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return replace(table, columns=columns, rows=rows)


def _markdown(lines: Sequence[str], tables: Sequence[Table]) -> str:
    listed = "".join(f"- {escaped_markdown(line)}\n" for line in lines)
    return "\n".join([listed, *(markdown_table(table) for table in tables)])


def tables_html(lines: Sequence[str], tables: Sequence[Table]) -> str:
    """Return lines as a list, and tables under their titles, as HTML. All text is escaped."""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    parts = [f"<ul>{listed}</ul>"] if listed else []
    for table in tables:
        sides = [
            "left" if place == 0 or is_text_column(table, place) else "right"
            for place in range(len(table.columns))
        ]
        heads = (name.replace("_", " ") for name in table.columns)
        rows = [_row_html("th", heads, sides)]
        rows += [_row_html("td", map(cell_text, row), sides) for row in table.rows]
        caption = f'<caption style="text-align:left">{escape(table.title)}</caption>'
        parts.append(f"<table>{caption}{''.join(rows)}</table>")
    return "".join(parts)


def _row_html(kind: str, cells: Iterable[str], sides: Sequence[str]) -> str:
    inner = (
        f'<{kind} style="text-align:{side}">{escape(cell)}</{kind}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"


def _calls_by_node(found: ScopeStatistics) -> NotebookText:
    if not found.counts.asked:
        return NotebookText("No calls yet.", "No calls yet.\n", "<p>No calls yet.</p>")
    columns, rows = found.table()
    title = "Calls by node (simulated)" if found.is_simulated else "Calls by node"
    folds = (Outcome.SERVED.value, "requests")
    table = Table("calls_by_node", title, columns, tuple(rows), folds)
    plain = plain_table(table, screen=print_screen()).rstrip("\n")
    return NotebookText(plain, markdown_table(table), tables_html([], [table]))
