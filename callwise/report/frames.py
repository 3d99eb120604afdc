"""A run's calls and turns as pandas data frames, one line each, for notebooks and scripts.

Counts are `Int64`, amounts `float64`, yes-or-no `bool`, the rest text. What is not known is missing
and never 0. Text is untrusted and stays as it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from callwise.budget.ledger_row import LedgerRow
from callwise.budget.usage import JSON_NAMES
from callwise.optional_library import install_hint, loaded
from callwise.report.run_record import CallLine, RunRecord
from callwise.report.run_tables import summarise

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FRAME_NEED", "calls_frame", "frame_of_columns", "turns_frame"]

FRAME_NEED = f"Data frames need an extra: {install_hint('tune')}"

_TEXT_OF_TURNS = {"conversation", "search_stop", "reply"}
_OF_REPORTED_USAGE = {"input_tokens", "output_tokens", "cached_tokens"}
"""Not known where a provider did not report them."""


def frame_of_columns(
    columns: Mapping[str, Sequence[Any]], types: Mapping[str, str]
) -> "pd.DataFrame":
    """Return columns as a data frame, each of its type.

    Args:
        types: by column: `Int64`, `float64`, `bool` or `str`.

    Raises:
        ConfigError: when pandas is not installed.
    """
    pd = loaded("pandas", FRAME_NEED)
    return pd.DataFrame(
        {name: pd.Series(list(values), dtype=types[name]) for name, values in columns.items()}
    )


def _type_of(annotation: Any) -> str:
    """Return the type of a column for a field's annotation."""
    if get_origin(annotation) in {Annotated, Union, UnionType}:
        return _type_of(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, bool):
        return "bool"
    return {int: "Int64", float: "float64"}.get(annotation, "str")


def _type_of_name(name: str) -> str:
    if name.startswith("unknown_"):  # counts of what has no figure
        return "Int64"
    is_amount = name.endswith(("usd", "seconds")) or name.startswith(("rounds_", "path_seconds_"))
    return "float64" if is_amount else "Int64"


def _cell(call: CallLine, name: str) -> Any:
    if name in CallLine.model_fields:
        value = getattr(call, name)
        return str(value) if isinstance(value, StrEnum) else value
    if name in _OF_REPORTED_USAGE and call.usage.unknown_usage:
        return None
    return getattr(call.usage, name)


def _line(row: object) -> CallLine:
    if isinstance(row, LedgerRow):
        return CallLine.model_validate(row.as_dict())
    if isinstance(row, CallLine):
        return row
    raise TypeError(
        f"expected rows of calls, got {row!r:.80}. Give a run of `replay`, or the rows of a "
        "budgeter's ledger: `budgeter.ledger.rows`"
    )


def calls_frame(run: RunRecord | Iterable[CallLine | LedgerRow]) -> "pd.DataFrame":
    """Return one line per call, in the ledger's order: who asked, how it ended, its usage.

    Columns are the fields of `CallLine` and of `Usage`, which documents them. Tokens are missing
    where they were not reported.

    Args:
        run: a run, or rows of one or of a budgeter's ledger (`budgeter.ledger.rows`).

    Raises:
        ConfigError: when pandas is not installed.
        TypeError: for anything else.
    """
    rows = [_line(row) for row in (run.rows if isinstance(run, RunRecord) else run)]
    fields = {
        name: _type_of(field.annotation)
        for name, field in CallLine.model_fields.items()
        if name != "usage"
    }
    usage = {name: _type_of_name(name) for name in JSON_NAMES if name not in fields}
    types = {**fields, **usage}
    columns = {name: [_cell(call, name) for call in rows] for name in types}
    return frame_of_columns(columns, types)


def turns_frame(run: RunRecord) -> "pd.DataFrame":
    """Return one line per turn of a run: its calls by outcome, usage, rounds, seconds, and reply.

    Columns are those of `callwise report --table turn`, and the reply.

    Raises:
        ConfigError: when pandas is not installed.
    """
    table = summarise(run.rows, run.turns).by_turn
    columns: dict[str, Sequence[Any]] = {
        name: [row[place] for row in table.rows] for place, name in enumerate(table.columns)
    }
    columns["reply"] = [turn.reply for turn in run.turns]
    types = {name: "str" if name in _TEXT_OF_TURNS else _type_of_name(name) for name in columns}
    return frame_of_columns(columns, types)
