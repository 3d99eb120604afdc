"""A row as plain JSON, and back.

Fields and their types are read from `TurnRow`, so a field that is added there is kept here
without another word. Floats keep every digit and maps are sorted by name: equal rows give
equal bytes.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args, get_type_hints

from turnwise.tune.row import Standing, TurnRow

__all__ = ["FIELDS", "RowField", "row_figures", "row_from_figures", "row_from_json"]


@dataclass(frozen=True, slots=True)
class RowField:
    """One field of `TurnRow`.

    Args:
        kind: its type; `dict` for a map of counts.
        may_be_none: whether None stands for what is not known.
        is_needed: whether it has no default.
    """

    kind: type
    may_be_none: bool
    is_needed: bool


def _row_field(hint: Any, *, is_needed: bool) -> RowField:
    kinds = [part for part in get_args(hint) if part is not type(None)] or [hint]
    is_map = len(kinds) > 1
    may_be_none = type(None) in get_args(hint)
    return RowField(dict if is_map else kinds[0], may_be_none, is_needed)


_STANDINGS = {str(standing): standing for standing in Standing}
_HINTS = get_type_hints(TurnRow)
FIELDS: Mapping[str, RowField] = {
    each.name: _row_field(
        _HINTS[each.name],
        is_needed=each.default is MISSING and each.default_factory is MISSING,
    )
    for each in fields(TurnRow)
}
"""By name, in the order of declaration."""


def row_figures(row: TurnRow) -> list[Any]:
    """Return the values of a row's fields, in the order of declaration.

    Raises:
        ValueError: for a figure that is not finite, which no file here can hold.
    """
    figures: list[Any] = []
    for name, field in FIELDS.items():
        value = getattr(row, name)
        if field.kind is dict:
            value = {part: value[part] for part in sorted(value)}
        elif field.kind is float and value is not None and not math.isfinite(value):
            raise ValueError(f"{name} of setting {row.setting!r} is {value}")
        figures.append(value)
    return figures


def row_from_figures(figures: Any) -> TurnRow:
    """Return a row that `row_figures` took apart.

    Raises:
        ValueError: when a field is missing or of another type; names it.
    """
    if not isinstance(figures, list) or len(figures) != len(FIELDS):
        raise ValueError(f"expected {len(FIELDS)} figures")
    read = []
    for (name, field), value in zip(FIELDS.items(), figures, strict=True):
        # What nearly every field is, before what may need a closer look.
        is_plain = type(value) is field.kind and field.kind is not dict
        read.append(value if is_plain else _value(name, field, value))
    return TurnRow(*read)


def row_from_json(plain: Mapping[str, Any]) -> TurnRow:
    """Return a row from its fields by name.

    Raises:
        ValueError: when a field is missing, unknown, or of another type; names it.
    """
    unknown = plain.keys() - FIELDS.keys()
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    read: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name not in plain:
            if field.is_needed:
                raise ValueError(f"the field {name!r} is missing")
            continue
        value = plain[name]
        # What nearly every field is, before what may need a closer look.
        is_plain = type(value) is field.kind and field.kind is not dict
        read[name] = value if is_plain else _value(name, field, value)
    return TurnRow(**read)


def _value(name: str, field: RowField, value: Any) -> Any:
    if value is None and field.may_be_none:
        return None
    kind = field.kind
    if kind is float and type(value) is int:
        return float(value)
    if kind is Standing and isinstance(value, str) and value in _STANDINGS:
        return _STANDINGS[value]
    if kind is dict and isinstance(value, dict) and all(type(n) is int for n in value.values()):
        return value
    raise ValueError(f"{name} is {value!r}, expected {kind.__name__}")
