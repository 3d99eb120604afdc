"""LangGraph's store operations as SQL on a table of items."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Any

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

from turnwise.memory.errors import StoreDamaged
from turnwise.memory.filters import matches_filter
from turnwise.memory.json_form import json_bytes, json_value
from turnwise.memory.lexical import LexicalIndex

__all__ = ["PutRow", "get_item", "read", "rows_of_puts", "run"]

_COLUMNS = "namespace, key, value, created_at, updated_at"
_GET = f"SELECT {_COLUMNS} FROM items WHERE namespace = ? AND key = ?"  # noqa: S608 - constants
_DELETE = "DELETE FROM items WHERE namespace = ? AND key = ?"
_PUT = """
INSERT INTO items (namespace, key, value, created_at, updated_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
"""
# '/' is the character after '.': together they bound everything below a prefix.
_SEARCH = f"""
SELECT {_COLUMNS} FROM items
WHERE :prefix = '' OR namespace = :prefix
   OR (namespace > :prefix || '.' AND namespace < :prefix || '/')
ORDER BY place LIMIT :limit OFFSET :offset
"""  # noqa: S608 - constants
_NAMESPACES = "SELECT DISTINCT namespace FROM items"


def _joined(namespace: Sequence[Any], *, may_be_empty: bool = False) -> str:
    """Return a namespace as one text. Labels hold no '.', so different ones stay different.

    Raises:
        InvalidNamespaceError: when it is empty, or a label is empty, no string, or has a '.'.
    """
    if not namespace and not may_be_empty:
        raise InvalidNamespaceError("a namespace has at least one label")
    for label in namespace:
        if not isinstance(label, str) or not label or "." in label:
            raise InvalidNamespaceError(
                f"a namespace's labels are non-empty strings without '.', got {label!r}"
            )
    return ".".join(namespace)


PutRow = tuple[str, str, bytes | None, str]
"""Namespace, key, value (None deletes) and time of a put."""


def rows_of_puts(ops: Sequence[Op], now: Callable[[], datetime]) -> list[PutRow]:
    """Return the rows to write, checked and encoded before anything is locked."""
    puts = [op for op in ops if isinstance(op, PutOp)]
    if not puts:
        return []
    stamp = now().isoformat()
    return [
        (
            _joined(op.namespace),
            op.key,
            None if op.value is None else json_bytes(dict(op.value)),
            stamp,
        )
        for op in puts
    ]


def run(connection: Connection, ops: Sequence[Op], puts: Sequence[PutRow]) -> list[Result]:
    """Return what the operations read, then write the rows."""
    results = [read(connection, op) for op in ops]
    for row in puts:
        if row[2] is None:
            connection.execute(_DELETE, row[:2])
        else:
            connection.execute(_PUT, (*row, row[3]))
    return results


def read(connection: Connection, op: Op) -> Result:
    """Return what one operation reads; None for a put.

    Raises:
        ValueError: when it is none of LangGraph's operations.
    """
    if isinstance(op, GetOp):
        return get_item(connection, op)
    if isinstance(op, SearchOp):
        return _search(connection, op)
    if isinstance(op, ListNamespacesOp):
        return _namespaces(connection, op)
    if isinstance(op, PutOp):
        return None
    raise ValueError(f"unknown store operation {type(op).__name__}")


def _fields(row: tuple[str, str, bytes, str, str]) -> dict[str, Any]:
    namespace, key, value, created_at, updated_at = row
    try:
        document = json_value(value)
    except ValueError as error:
        raise StoreDamaged(f"the item {key!r} in {namespace!r} is damaged: {error}") from error
    return {
        "namespace": tuple(namespace.split(".")),
        "key": key,
        "value": document,
        "created_at": datetime.fromisoformat(created_at),
        "updated_at": datetime.fromisoformat(updated_at),
    }


def get_item(connection: Connection, op: GetOp) -> Item | None:
    """Return an item, or None where there is none."""
    row = connection.execute(_GET, (_joined(op.namespace), op.key)).fetchone()
    return None if row is None else Item(**_fields(row))


def _search(connection: Connection, op: SearchOp) -> list[SearchItem]:
    prefix = _joined(op.namespace_prefix, may_be_empty=True)
    if op.limit < 0 or op.offset < 0:
        raise ValueError(f"limit and offset are at least 0, got {op.limit} and {op.offset}")
    if not op.filter and not op.query:
        page = {"prefix": prefix, "limit": op.limit, "offset": op.offset}
        rows = connection.execute(_SEARCH, page)
        return [SearchItem(**_fields(row)) for row in rows]
    rows = connection.execute(_SEARCH, {"prefix": prefix, "limit": -1, "offset": 0})
    found = (fields for fields in map(_fields, rows) if matches_filter(fields["value"], op.filter))
    if op.query:
        return _ranked(list(found), op.query)[op.offset : op.offset + op.limit]
    items: list[SearchItem] = []
    for place, fields in enumerate(found):
        if place >= op.offset + op.limit:
            break
        if place >= op.offset:
            items.append(SearchItem(**fields))
    return items


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _ranked(found: list[dict[str, Any]], query: str) -> list[SearchItem]:
    """Return items by how well their text matches; those that do not match come last."""
    index = LexicalIndex()
    for fields in found:
        index.add("\n".join(_texts(fields["value"])))
    scores = index.scores(query).tolist()
    order = sorted(range(len(found)), key=lambda place: -scores[place])
    return [SearchItem(**found[place], score=scores[place] or None) for place in order]


def _namespaces(connection: Connection, op: ListNamespacesOp) -> list[tuple[str, ...]]:
    found = {tuple(text.split(".")) for (text,) in connection.execute(_NAMESPACES)}
    kept = {
        namespace[: op.max_depth]
        for namespace in found
        if all(_fits(namespace, condition) for condition in op.match_conditions or ())
    }
    return sorted(kept)[op.offset : op.offset + op.limit]


def _fits(namespace: tuple[str, ...], condition: MatchCondition) -> bool:
    path = condition.path
    if condition.match_type == "prefix":
        part = namespace[: len(path)]
    elif condition.match_type == "suffix":
        part = namespace[len(namespace) - len(path) :] if len(path) <= len(namespace) else ()
    else:
        raise ValueError(f"a namespace matches by prefix or suffix, not {condition.match_type!r}")
    return len(part) == len(path) and all(
        wanted in ("*", label) for wanted, label in zip(path, part, strict=True)
    )
