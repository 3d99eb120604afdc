"""What the simulated server received, one entry a request, in the order of arrival.

A ledger is held against this log, so an entry is made before anything can go wrong:
when the handler starts, whatever becomes of the request. The file has one JSON object
a line and is flushed after each, so that it survives a killed server.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

__all__ = ["LogEntry", "RequestLog"]


@dataclass(slots=True)
class LogEntry:
    """One received request.

    Args:
        request_id: counts requests; starts at 1.
        path: the path that was asked for.
        model: the model that was asked for; empty when the body names none.
        status: the HTTP status that it was to get; None when none was to come (a
            timeout, or a body that never arrived).
        fault: how the attempt was to go, as in `Fault`; `ok` without a fault.
        body_digest: identifies the body; equal bodies have equal digests.
        sample: how many equal bodies had been answered before.
        is_stream: whether a stream was asked for.
    """

    request_id: int
    path: str
    model: str = ""
    status: int | None = None
    fault: str = "ok"
    body_digest: str = ""
    sample: int = 0
    is_stream: bool = False


class RequestLog:
    """The log of one server, in memory and, where asked for, in a file.

    Args:
        file: where lines are appended; None keeps them in memory only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._entries: list[LogEntry] = []
        self._path = file
        self._stream: TextIO | None = None
        self._arrival = asyncio.Event()

    def __enter__(self) -> Self:
        """Open the file."""
        if self._path is not None:
            self._stream = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file. The entries stay readable."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._entries)

    def __getitem__(self, index: int) -> LogEntry:
        return self._entries[index]

    def received(self, path: str) -> LogEntry:
        """Enter a request that has just arrived, and return its entry to be completed."""
        entry = LogEntry(request_id=len(self._entries) + 1, path=path)
        self._entries.append(entry)
        arrival, self._arrival = self._arrival, asyncio.Event()
        arrival.set()
        return entry

    async def reached(self, count: int) -> None:
        """Wait until this many requests have arrived, those whose askers left included."""
        while len(self._entries) < count:
            await self._arrival.wait()

    def write(self, entry: LogEntry) -> None:
        """Append a completed entry to the file, if there is one."""
        if self._stream is not None:
            self._stream.write(json.dumps(asdict(entry)) + "\n")
            self._stream.flush()

    def as_dicts(self) -> list[dict[str, object]]:
        """Return all entries as JSON objects."""
        return [asdict(entry) for entry in self._entries]
