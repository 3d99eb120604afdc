"""A LangGraph store in one SQLite file, on the standard library alone.

LangGraph's own SQLite store needs loadable extensions, which many builds of Python
lack. This one needs nothing, and adds what a turn's commit needs: a batch is all or
nothing, and can depend on a version (`batch_if`). Async methods run in a thread, so
that they never block an event loop.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from langgraph.store.base import BaseStore, GetOp, Op, Result

from turnwise.memory.errors import StoreChanged
from turnwise.memory.sqlite_file import SqliteFile
from turnwise.memory.sqlite_items import get_item, read, rows_of_puts, run

__all__ = ["SqliteMemoryStore"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteMemoryStore(BaseStore):
    """Items in a SQLite file.

    Semantics are those of `InMemoryStore`: within a batch, reads see what was there
    before the batch, and of several puts to one key the last holds. Items come back
    in the order in which they were first put. A search with a query ranks by BM25
    over all text in the values. Items do not expire.

    Args:
        path: the file; made when it does not exist. Its folder must exist.
        busy_timeout_seconds: how long a writer waits for another process.
        durable: whether each commit waits for the disk; without, a power cut (not a
            crash of the process) may take the last commits with it.
        now: the clock that stamps items; UTC.

    Raises:
        ConfigError: when the folder does not exist or the file cannot be opened.
        FormatError: when it is not a database, not one of ours, or of another version.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        busy_timeout_seconds: float = 5.0,
        durable: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._file = SqliteFile(
            Path(path), busy_timeout_seconds=busy_timeout_seconds, durable=durable
        )
        self._now = now

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all operations, or none.

        Raises:
            InvalidNamespaceError: when a namespace is not one.
            TypeError: when a value cannot be JSON.
            StoreFailed: when the file cannot do it. Nothing was committed.
        """
        ops = list(ops)
        puts = rows_of_puts(ops, self._now)
        if not puts:
            with self._file.reading() as connection:
                return [read(connection, op) for op in ops]
        with self._file.transaction() as connection:
            return run(connection, ops, puts)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all operations, or none, in a thread. Raises what `batch` raises."""
        return await asyncio.to_thread(self.batch, list(ops))

    def batch_if(
        self,
        ops: Iterable[Op],
        *,
        namespace: tuple[str, ...],
        key: str,
        field: str,
        equals: object,
    ) -> list[Result]:
        """Do all operations if an item's field equals a value, in one transaction.

        Args:
            ops: as for `batch`.
            namespace: of the item.
            key: of the item.
            field: of the item's value.
            equals: what it must hold; None when there must be no item or no field.

        Raises:
            StoreChanged: when it holds something else. Nothing was committed.
            StoreFailed: as for `batch`.
        """
        ops = list(ops)
        puts = rows_of_puts(ops, self._now)
        with self._file.transaction() as connection:
            item = get_item(connection, GetOp(namespace, key))
            found = item.value.get(field) if item is not None else None
            if found != equals:
                raise StoreChanged(found)
            return run(connection, ops, puts)

    async def abatch_if(
        self,
        ops: Sequence[Op],
        *,
        namespace: tuple[str, ...],
        key: str,
        field: str,
        equals: object,
    ) -> list[Result]:
        """Do as `batch_if` does, in a thread."""
        return await asyncio.to_thread(
            self.batch_if, ops, namespace=namespace, key=key, field=field, equals=equals
        )

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()
