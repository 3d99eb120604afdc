"""Dataclasses from JSON, with the type of every field checked.

A recording is a file that others may have written, changed or damaged: a text where a
number belongs must be an error that names the field, not a fault later in a run. What is
expected is read from the annotations of the dataclass, so that a new field is checked too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["json_reader", "read_dataclass", "under_this_name"]

_OLD_NAME = "turnwise"
"""The project's name before it was released; its run folders and baselines are read."""

Record = TypeVar("Record")
_Reader = Callable[[Any, str], Any]
"""Takes a JSON value and the name of its field; returns the field's value."""

MAX_WHOLE = 2**64
"""Above every whole number that is read; JSON's own has no end."""


def under_this_name(document: Any) -> Any:
    """Return a JSON object with the mark `turnwise_…` of older files as `callwise_…`."""
    if not isinstance(document, dict):
        return document
    return {
        f"callwise{name.removeprefix(_OLD_NAME)}"
        if name.startswith(f"{_OLD_NAME}_")
        else name: each
        for name, each in document.items()
    }


def _shown(value: Any) -> str:
    """Return the beginning of a value, on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _wrong(name: str, wanted: str, value: Any) -> ValueError:
    return ValueError(f"the field {name} must be {wanted}, found {_shown(value)}")


def _read_whole(value: Any, name: str) -> int:
    if type(value) is not int or abs(value) >= MAX_WHOLE:
        raise _wrong(name, "a whole number of at most 64 bits", value)
    return value


def _read_number(value: Any, name: str) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise _wrong(name, "a number", value)
    return value  # type: ignore[no-any-return]  # an int where it was written as one


def _plain(kind: type, wanted: str) -> _Reader:
    def read(value: Any, name: str) -> Any:
        if type(value) is not kind:
            raise _wrong(name, wanted, value)
        return value

    return read


def _read_anything(value: Any, name: str) -> Any:  # noqa: ARG001 - a reader's arguments
    return value


def _read_object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, "a JSON object", value)
    return value


_PLAIN: Mapping[Any, _Reader] = {
    int: _read_whole,
    float: _read_number,
    str: _plain(str, "a text"),
    bool: _plain(bool, "true or false"),
    NoneType: _plain(NoneType, "null"),
    Any: _read_anything,
}


def _of_tuple(inner: tuple[Any, ...]) -> _Reader:
    is_any_length = len(inner) == 2 and inner[1] is Ellipsis
    each = [json_reader(hint) for hint in inner if hint is not Ellipsis]

    def read(value: Any, name: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(name, "a list", value)
        if is_any_length:
            return tuple(each[0](item, name) for item in value)
        if len(value) != len(each):
            raise _wrong(name, f"a list of {len(each)}", value)
        return tuple(one(item, name) for one, item in zip(each, value, strict=True))

    return read


def _of_union(inner: tuple[Any, ...]) -> _Reader:
    readers = [json_reader(hint) for hint in inner if hint is not NoneType]

    def read(value: Any, name: str) -> Any:
        if value is None:
            return None
        for reader in readers[:-1]:
            try:
                return reader(value, name)
            except ValueError:
                continue
        return readers[-1](value, name)

    return read


def _of_enum(kind: type[Enum]) -> _Reader:
    def read(value: Any, name: str) -> Enum:
        try:
            return kind(value)
        except (ValueError, TypeError):
            known = ", ".join(str(each.value) for each in kind)
            raise _wrong(name, f"one of {known}", value) from None

    return read


def _read_nothing(value: Any, name: str) -> Any:
    raise _wrong(name, "left out: no file keeps it", value)


@lru_cache(maxsize=256)
def json_reader(hint: Any) -> _Reader:
    """Return what reads a JSON value of a type, such as `str | None`, or raises a `ValueError`.

    A type that JSON has no form of is never read.
    """
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _of_tuple(inner)
    if origin in {Union, UnionType}:
        return _of_union(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _read_object
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _of_enum(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value, name: read_dataclass(hint, value, name)
    return _read_nothing


@lru_cache(maxsize=64)
def _readers_of(kind: Any, name: str) -> tuple[dict[str, tuple[_Reader, str]], frozenset[str]]:
    """Return how a dataclass's fields are read and called in errors, and which it needs."""
    hints = get_type_hints(kind)
    own = fields(kind)
    needed = frozenset(
        each.name for each in own if each.default is MISSING and each.default_factory is MISSING
    )
    readers = {
        each.name: (json_reader(hints[each.name]), f"{name}.{each.name}")
        for each in own
        if each.init
    }
    return readers, needed


def read_dataclass(
    kind: type[Record], document: Any, name: str, *, given: Mapping[str, Any] | None = None
) -> Record:
    """Return a dataclass read from a JSON object.

    Args:
        given: fields that were read already; the object does not have them.

    Raises:
        ValueError: names the field that is missing, unknown or of another type.
    """
    hashable: Any = kind
    readers, needed = _readers_of(hashable, name)
    values = dict(given or {})
    for field_name, value in _read_object(document, name).items():
        found = readers.get(field_name)
        if found is None or field_name in values:
            raise ValueError(
                f"{name} has the field {_shown(field_name)}, which this Callwise does not know: "
                "a newer one wrote it"
            )
        values[field_name] = found[0](value, found[1])
    if not needed <= values.keys():
        raise ValueError(f"{name} has no field {min(needed - values.keys())}")
    return kind(**values)
