"""Tables as HTML that is readable without a script. Every text in them is escaped."""

from collections.abc import Sequence

from turnwise.report.cells import Cell, Table, cell_text
from turnwise.report.page.shown_text import shown_html

__all__ = ["table_html"]


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float)


def _shown_places(table: Table) -> list[int]:
    """Return the columns worth the room: the first, and those that are not all 0 or blank."""
    columns: list[Sequence[Cell]] = list(zip(*table.rows, strict=True))
    return [
        place
        for place, column in enumerate(columns)
        if place == 0 or not all(cell in {0, ""} for cell in column)
    ] or list(range(len(table.columns)))


def _cell(cell: Cell, *, is_head: bool, is_difference: bool, is_text: bool) -> str:
    if isinstance(cell, str):
        inner = shown_html(cell)
    else:
        inner = shown_html(cell_text(cell))
        if is_difference and _is_number(cell) and cell:
            inner = f"+{inner}" if cell > 0 else inner.replace("-", "\N{MINUS SIGN}", 1)
    if is_head:
        return f'<th scope="row">{inner}</th>'
    kind = "unknown" if cell is None else "" if is_text else "number"
    return f'<td class="{kind}">{inner}</td>' if kind else f"<td>{inner}</td>"


def table_html(table: Table) -> str:
    """Return one table under its title, in a frame of its own that scrolls where it must."""
    places = _shown_places(table)
    texts = [
        any(isinstance(row[place], str) and row[place] for row in table.rows)
        for place in range(len(table.columns))
    ]
    title = shown_html(table.title)
    heads = "".join(
        f'<th scope="col"{"" if texts[place] else " class=number"}>'
        f"{shown_html(table.columns[place].replace('_', ' '))}</th>"
        for place in places
    )
    lines = [
        f'<section class="table" id="table-{table.name.replace("_", "-")}">',
        f"<h3>{title}</h3>",
        f'<div class="scroll" role="region" tabindex="0" aria-label="{title}"><table>',
        f"<thead><tr>{heads}</tr></thead><tbody>",
    ]
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
    lines.append("</tbody></table></div></section>")
    return "\n".join(lines)
