"""Tables, bars and figures of the page as HTML, readable without a script."""

from collections.abc import Iterable, Sequence

from callwise.report.table import Cell, Table, cell_text, is_text_column, shown_places
from callwise.safe_text import shown_html

__all__ = ["bar_html", "figures_html", "percent", "ranking_html", "table_html"]


def percent(share: float | None) -> str:
    """Return a share for people, in per cent."""
    if share is None:
        return ""
    return f"{100 * share:.0f}%" if share >= 0.0995 else f"{100 * share:.1f}%"


def bar_html(share: float | None, kind: str) -> str:
    """Return a bar for a share of a whole.

    It is a picture with attributes: the page's policy allows no style in an element.

    Args:
        share: from 0 to 1; None draws nothing.
        kind: its class, which has the colour.
    """
    if share is None:
        return ""
    width = max(0.0, min(100.0, 100 * share))
    return (
        f'<svg class="share {kind}" viewBox="0 0 100 4" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect width="{width:.2f}" height="4"/></svg>'
    )


def figures_html(tiles: Iterable[tuple[str, str, str]]) -> str:
    """Return figures in tiles: name, figure and a remark each. They are HTML."""
    parts = []
    for name, figure, under in tiles:
        kind = ' class="unknown"' if figure == "unknown" else ""
        small = f"<small>{under}</small>" if under else ""
        parts.append(f"<div><dt>{name}</dt><dd{kind}>{figure}{small}</dd></div>")
    return f'<dl class="tiles">{"".join(parts)}</dl>'


def _cell(cell: Cell, *, is_head: bool, is_difference: bool, is_text: bool) -> str:
    if isinstance(cell, str):
        inner = shown_html(cell)
    else:
        inner = shown_html(cell_text(cell))
        if is_difference and cell:
            inner = f"+{inner}" if cell > 0 else inner.replace("-", "\N{MINUS SIGN}", 1)
    if is_head:
        return f'<th scope="row">{inner}</th>'
    kind = "unknown" if cell is None else "" if is_text else "number"
    return f'<td class="{kind}">{inner}</td>' if kind else f"<td>{inner}</td>"


def table_html(table: Table) -> str:
    """Return one table under its title, in its own frame that scrolls where it must."""
    places = shown_places(table)
    texts = [is_text_column(table, place) for place in range(len(table.columns))]
    heads = "".join(
        f'<th scope="col"{"" if texts[place] else " class=number"}>'
        f"{shown_html(table.columns[place].replace('_', ' '))}</th>"
        for place in places
    )
    lines = []
    for row in table.rows:
        cells = "".join(
            _cell(
                row[place],
                is_head=place == 0,
                is_difference=table.columns[place].endswith("difference"),
                is_text=texts[place],
            )
            for place in places
        )
        total = ' class="total"' if row[0] == "total" else ""
        lines.append(f"<tr{total}>{cells}</tr>")
    return _section(table.name.replace("_", "-"), shown_html(table.title), heads, lines)


def _section(name: str, title: str, heads: str, lines: Sequence[str], kind: str = "") -> str:
    return (
        f'<section class="table" id="table-{name}">\n<h3>{title}</h3>\n'
        f'<div class="scroll{kind}" role="region" tabindex="0" aria-label="{title}"><table>\n'
        f"<thead><tr>{heads}</tr></thead><tbody>\n"
        + "\n".join(lines)
        + "\n</tbody></table></div></section>"
    )


def ranking_html(
    name: str,
    title: str,
    heads: Sequence[str],
    rows: Iterable[tuple[str, Sequence[tuple[Cell, str]]]],
) -> str:
    """Return a table of ranked rows, which the script sorts by any of its columns.

    On a narrow screen each row is a block, in which a cell has its column's name.

    Args:
        name: of the table, for links.
        title: for people, as HTML.
        heads: names of the columns, as HTML, the rows' names first.
        rows: the name of each, as HTML, and for each other column its value, which sorts it, and
            its HTML.
    """
    lines = []
    for row_name, cells in rows:
        found = []
        for head, (value, inner) in zip(heads[1:], cells, strict=True):
            is_number = isinstance(value, int | float)
            number = f' data-value="{float(value):.9g}"' if is_number else ""  # type: ignore[arg-type]
            found.append(f'<td data-name="{head}"{number}>{inner}</td>')
        lines.append(f'<tr><th scope="row">{row_name}</th>{"".join(found)}</tr>')
    head_cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return _section(name, title, head_cells, lines, kind=" ranking")
