"""The log of a simulated server: one entry per request.

An entry is made when a handler starts, before anything can go wrong. The log's file has one JSON
object per line and is flushed after each, so that it survives a killed server.
"""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

__all__ = ["LogEntry", "RequestLog"]


@dataclass(slots=True)
class LogEntry:
    """One received request.

    Args:
        request_id: counts requests; starts at 1.
        path: of the URL.
        model: the model that was asked for; empty when the body names none.
        status: HTTP status of the response; None for none (a timeout, or a body that never
            arrived).
        fault: the planned fault of the attempt, a value of `Fault`.
        body_digest: see `callwise.simulator.model.body_digest`.
        sample: number of equal bodies answered before.
        client_port: port that the client sent from: one for each connection.
        items: conversations of a batch, or texts of an embeddings request.
        limit: the limit of the service that refused it, such as `requests`; empty for none.
        is_answered: whether its whole answer was written.
        input_tokens: of an admitted request.
    """

    request_id: int
    path: str
    model: str = ""
    status: int | None = None
    fault: str = "ok"
    body_digest: str = ""
    sample: int = 0
    is_stream: bool = False
    client_port: int = 0
    items: int = 1
    limit: str = ""
    is_answered: bool = False
    input_tokens: int = 0
    output_tokens: int = 0

    def arrival(self) -> dict[str, Any]:
        """Return what is known on arrival, and written to the file: all up to `items`."""
        document = asdict(self)
        for name in _OF_THE_END:
            del document[name]
        return document


_OF_THE_END = ("limit", "is_answered", "input_tokens", "output_tokens")


class RequestLog(list[LogEntry]):
    """The log of one server, in memory and in `file`; None is memory only."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self._path = file
        self._stream: TextIO | None = None
        self._arrival = asyncio.Event()

    def __enter__(self) -> Self:
        """Open the file."""
        if self._path is not None:
            self._stream = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file. The entries stay readable."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def received(self, path: str, *, client_port: int = 0) -> LogEntry:
        """Add the entry of a request that has just arrived, and return it to be completed."""
        entry = LogEntry(request_id=len(self) + 1, path=path, client_port=client_port)
        self.append(entry)
        arrival, self._arrival = self._arrival, asyncio.Event()
        arrival.set()
        return entry

    async def reached(self, count: int) -> None:
        """Wait until this many requests have arrived, cancelled ones included."""
        while len(self) < count:
            await self._arrival.wait()

    def write(self, entry: LogEntry) -> None:
        """Append a completed entry to the file, if there is one."""
        if self._stream is not None:
            self._stream.write(json.dumps(entry.arrival()) + "\n")
            self._stream.flush()
