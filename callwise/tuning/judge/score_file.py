"""Scores as a CSV table, `scores.csv`: sorted, so equal scores give equal bytes."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import get_args

from callwise.calls.errors import ConfigError
from callwise.report.table import unguarded
from callwise.tuning.judge.csv_table import (
    CsvRow,
    CsvTable,
    bytes_of,
    decoded,
    read_csv,
    text_cell,
    whole_part,
)
from callwise.tuning.judge.scores import Order, Score, ScoreKind, in_order

__all__ = ["COLUMNS", "ReadScores", "read_scores", "write_scores"]

COLUMNS = tuple(field.name for field in fields(Score))
"""The columns of `scores.csv`: the fields of `Score`, in order."""

_HEADER = f"{','.join(COLUMNS)}\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ReadScores:
    """The scores in a file.

    Args:
        scores: sorted, one a key; of two with one key the later.
    """

    scores: tuple[Score, ...]
    notices: tuple[str, ...] = ()


def scores_csv(scores: Iterable[Score]) -> str:
    """Return rows of CSV, without the header, in the order given."""
    return "".join(f"{','.join(map(_cell, astuple(score)))}\n" for score in scores)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return text_cell(value)
    return str(value) if isinstance(value, int) else repr(float(value))


def read_scores(path: Path) -> ReadScores:
    """Return the scores of a file. A last row that was cut off is left out, with a notice.

    Raises:
        FormatError: when the file is missing, or a whole row of it is no score; names the
            line.
    """
    data = bytes_of(path)
    ended = data[: data.rfind(b"\n") + 1]  # a killed write may end inside a character
    if not ended and _HEADER.encode().startswith(data.removeprefix(_BYTE_ORDER_MARK)):
        return ReadScores(())
    text = decoded(path, ended or data)
    whole = whole_part(text) or text
    table = read_csv(path, COLUMNS, text=whole)
    scores = in_order(_score(table, row) for row in table.rows)
    mark_bytes = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
    is_cut = mark_bytes + len(whole.encode("utf-8", "surrogatepass")) < len(data)
    notices = (f"{path.name}: the last row was cut off and is left out",) if is_cut else ()
    return ReadScores(tuple(scores), notices)


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write a table: sorted, one row a key. An older one is replaced in one step.

    Raises:
        ConfigError: when it cannot be written.
    """
    data = f"{_HEADER}{scores_csv(in_order(scores))}".encode("utf-8", "surrogatepass")
    partial = path.with_name(f"{path.name}.part")
    try:
        partial.unlink(missing_ok=True)  # a link would be followed
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error


def _score(table: CsvTable, row: CsvRow) -> Score:
    cells = row.cells
    kind = next((each for each in get_args(ScoreKind) if each == cells["kind"]), None)
    if kind is None:
        raise table.problem(row, f"kind: expected one of {', '.join(get_args(ScoreKind))}")
    order = next((each for each in get_args(Order) if each == cells["order"]), None)
    if order is None:
        raise table.problem(row, "order: expected first, second, or nothing")
    try:
        return Score(
            by=unguarded(cells["by"]),
            conversation=unguarded(cells["conversation"]),
            turn=table.whole(row, "turn"),
            reply_id=unguarded(cells["reply_id"]),
            value=table.number(row, "value"),
            scale_low=table.number(row, "scale_low"),
            scale_high=table.number(row, "scale_high"),
            repeat=table.whole(row, "repeat"),
            order=order,
            kind=kind,
            against=unguarded(cells["against"]),
        )
    except ValueError as error:
        raise table.problem(row, str(error)) from error
