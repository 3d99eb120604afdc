"""Layout of text for a screen: widths of columns, wrapped cells, folded columns, emphasis.

Text that comes in is safe to show already. A number is never cut or wrapped: where a table is too
wide, long texts wrap, then whole columns are left out and named.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TextIO

from callwise.safe_text import shown_html, text_width

__all__ = [
    "EVERYTHING",
    "Grid",
    "Screen",
    "aligned",
    "colour_choice",
    "counted",
    "grid_lines",
    "html_table",
    "print_screen",
    "screen_of",
    "styled",
    "wrapped",
    "wrapped_lines",
]

_GAP = 2
"""Blanks between two columns."""

_LONG_TEXT = 20
"""Width to which a text always has its column; a longer one may wrap."""

_MAX_LEAST = 24
"""Most that a column of long texts takes before others are folded for it."""

_MIN_WIDTH = 20
"""Least width that is laid out for; a narrower screen breaks lines itself."""

_STYLES = {"title": "1", "head": "36", "total": "1", "note": "2", "option": "36"}
"""SGR codes: bold, cyan, faint."""

Style = Literal["title", "head", "total", "note", "option"]


@dataclass(frozen=True, slots=True)
class Screen:
    """A place where text will be shown.

    Args:
        width: columns of the terminal; None for a pipe, a file or a notebook, where each row is
            one line with every column.
        is_styled: whether it shows colours.
        more: what shows the columns that are left out, e.g. `--wide`.
    """

    width: int | None = None
    is_styled: bool = False
    more: str = ""


EVERYTHING = Screen()
"""Every column, each row in one line, no colour."""


def colour_choice(environ: Mapping[str, str]) -> bool | None:
    """Return whether the environment forbids or forces colours; None leaves it to the stream.

    In the order in which Python itself decides: NO_COLOR, FORCE_COLOR, TERM=dumb.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return False if environ.get("TERM") == "dumb" else None


def screen_of(
    stream: TextIO, environ: Mapping[str, str] | None = None, *, more: str = ""
) -> Screen:
    """Return the screen behind a stream.

    Args:
        stream: where the text will go. Only looked at.
        environ: environment variables; this process's by default. COLUMNS is the width, of a
            pipe and a file too; without it, only a terminal has one, 80 where it has no size.
        more: see `Screen`.
    """
    environ = os.environ if environ is None else environ
    given = environ.get("COLUMNS", "")
    width: int | None = None
    if given.isdecimal() and int(given) > 0:
        width = max(int(given), _MIN_WIDTH)
    elif stream.isatty():
        width = max(shutil.get_terminal_size().columns, _MIN_WIDTH)
    choice = colour_choice(environ)
    return Screen(width, stream.isatty() if choice is None else choice, more)


def print_screen() -> Screen:
    """Return the screen behind `print`, without colours."""
    return replace(screen_of(sys.stdout), is_styled=False)


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: `1 turn`, `12 turns`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def styled(text: str, style: Style, screen: Screen) -> str:
    """Return a text in a style, on a screen that shows it."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if screen.is_styled and text else text


def _chopped(word: str, width: int) -> list[str]:
    """Return a word in pieces of at most `width` columns; a wide character is never halved."""
    pieces, piece = [], ""
    for char in word:
        if piece and text_width(piece + char) > width:
            pieces.append(piece)
            piece = ""
        piece += char
    return [*pieces, piece]


_WORDS = re.compile(r"\s+|\S+(?: %)?")
_PARTS = re.compile(r"\s+|\S*?(?:[;/=_]|,(?!\d))+|\S+(?: %)?")
"""Parts that a line of a text, and of a cell, keeps together; `7 %` is one."""


def wrapped(text: str, width: int, *, is_cell: bool = True) -> list[str]:
    """Return a text of one line as lines of at most `width` columns, at least 2.

    Lines break at blanks; in a cell after `,`, `;`, `/`, `=` and `_` as well, never within a
    number, and where none of these helps within a word. Elsewhere a word of ASCII, such as a
    path, is left whole to be copied.
    """
    if text_width(text) <= width:
        return [text]
    lines, line = [], ""
    for word in (_PARTS if is_cell else _WORDS).findall(text):
        if text_width(line + word.rstrip()) <= width:
            line += word
            continue
        *whole, last = _chopped(word, width) if is_cell or not word.isascii() else [word]
        if line.strip():
            lines.append(line.rstrip())
        lines += whole
        line = last.lstrip()
    return [*lines, *([line.rstrip()] if line.strip() else [])]


def wrapped_lines(text: str, screen: Screen, *, indent: str = "  ") -> str:
    """Return lines of text that fit a screen; what is wrapped goes on under `indent`."""
    if screen.width is None:
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        blanks = line[: len(line) - len(line.lstrip(" "))]
        if text_width(line) <= screen.width:
            lines.append(line)
            continue
        first, *_ = wrapped(line, screen.width, is_cell=False)
        inner = blanks + indent
        rest = line[len(first) :].lstrip() if line.startswith(first) else line
        others = wrapped(rest, screen.width - len(inner), is_cell=False) if rest else []
        lines += [first, *(inner + each for each in others)]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text, before it is laid out.

    Args:
        rows: cells of one line each, one per head.
        is_text: by column, whether it is aligned left and may wrap.
        folds: places of the columns to leave out first, the first one first.
        keeps: places of columns that are never left out; their texts wrap instead.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_text: Sequence[bool]
    folds: Sequence[int] = ()
    keeps: Sequence[int] = ()


def _cell_widths(grid: Grid) -> list[int]:
    return [
        max((text_width(row[place]) for row in grid.rows), default=0)
        for place in range(len(grid.heads))
    ]


def _longest_word(head: str) -> int:
    return max((text_width(part.rstrip()) for part in _PARTS.findall(head)), default=0)


def _least(grid: Grid, place: int, cells: int) -> int:
    """Return the least width at which a column can be read."""
    if grid.is_text[place] and cells > _LONG_TEXT:
        cells = min(_MAX_LEAST, max(_LONG_TEXT, cells // 3))
    return max(cells, _longest_word(grid.heads[place]))


def _fitting(grid: Grid, cells: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that fit; two always do, the first unless it folds.

    Those to keep are among them, whether they fit or not.
    """
    least = [_least(grid, place, each) for place, each in enumerate(cells)]
    kept = list(range(len(cells)))
    others = [place for place in reversed(kept[1:]) if place not in (*grid.folds, *grid.keeps)]
    for place in [*grid.folds, *others]:
        if len(kept) <= 2 or sum(least[each] + _GAP for each in kept) - _GAP <= width:
            break
        kept.remove(place)
    return kept


def _widths(grid: Grid, cells: Sequence[int], kept: Sequence[int], width: int) -> list[int]:
    """Return the widths of the kept columns: long texts give way, then heads get what is left."""
    widths = {place: max(cells[place], _longest_word(grid.heads[place])) for place in kept}
    left = width - _GAP * (len(kept) - 1) - sum(widths.values())
    texts = [place for place in kept if grid.is_text[place]]
    for least_width in (_LONG_TEXT, 8):
        while left < 0 and texts:
            widest = max(texts, key=lambda place: widths[place])
            if widths[widest] <= least_width:
                break
            widths[widest] -= 1
            left += 1
    for place in kept:
        more = text_width(grid.heads[place]) - widths[place]
        if 0 < more <= left:
            widths[place] += more
            left -= more
    return [widths[place] for place in kept]


def _row_lines(cells: Sequence[str], widths: Sequence[int], is_text: Sequence[bool]) -> list[str]:
    """Return a row as one line, or as several where a cell wraps."""
    columns = [wrapped(text, width) for text, width in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(map(len, columns), default=0)):
        parts = []
        for column, width, is_left in zip(columns, widths, is_text, strict=True):
            text = column[number] if number < len(column) else ""
            blanks = " " * (width - text_width(text))
            parts.append(text + blanks if is_left else blanks + text)
        lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _head_lines(heads: Sequence[str], widths: Sequence[int], is_text: Sequence[bool]) -> list[str]:
    """Return the heads, those of several lines at the bottom of theirs."""
    columns = [wrapped(head, width) for head, width in zip(heads, widths, strict=True)]
    height = max(map(len, columns), default=0)
    filled = [[""] * (height - len(column)) + column for column in columns]
    return [
        line
        for cells in zip(*filled, strict=True)
        for line in (_row_lines(cells, widths, is_text) or [""])
    ]


def grid_lines(grid: Grid, screen: Screen) -> list[str]:
    """Return a table as lines that fit a screen; a last line names the columns left out."""
    cells = _cell_widths(grid)
    full = [max(each, text_width(head)) for each, head in zip(cells, grid.heads, strict=True)]
    full_width = sum(full) + _GAP * (len(full) - 1)
    kept, widths = list(range(len(cells))), full
    if screen.width is not None and full_width > screen.width:
        kept = _fitting(grid, cells, screen.width)
        widths = _widths(grid, cells, kept, screen.width)
    is_text = [grid.is_text[place] for place in kept]
    heads = _head_lines([grid.heads[place] for place in kept], widths, is_text)
    lines = [styled(line, "head", screen) for line in heads]
    for row in grid.rows:
        found = _row_lines([row[place] for place in kept], widths, is_text)
        is_total = row[0] in {"total", "all"}
        lines += [styled(line, "total", screen) if is_total else line for line in found]
    folded = [head for place, head in enumerate(grid.heads) if place not in kept]
    if folded:
        more = screen.more or f"COLUMNS={full_width}"
        note = wrapped_lines(f"Not shown: {', '.join(folded)} ({more} shows all)", screen)
        lines += [styled(line, "note", screen) for line in note.split("\n")]
    return lines


def aligned(
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    screen: Screen = EVERYTHING,
) -> list[str]:
    """Return rows of cells as lines of aligned columns, the first row as their heads.

    Padding is by `text_width`; rich, which draws tables in a terminal, took 6 ms per row.

    Args:
        rows: cells of one line each, the same number in each row.
        numbers: places of the columns that are aligned right.
        screen: where they are shown.
    """
    heads, *others = rows
    is_text = [place not in numbers for place in range(len(heads))]
    return grid_lines(Grid(heads, others, is_text), screen)


def html_table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """Return rows of untrusted cells as an HTML table, for a notebook."""
    lines = ("".join(f"<td>{shown_html(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><caption>{shown_html(caption)}</caption>{body}</table>"
