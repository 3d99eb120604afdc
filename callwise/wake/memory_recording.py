"""Recordings of a memory that a user has brought: what each search has found, and what failed.

    recalled.jsonl  one line per search and per added set of notes, written as each ends

The notes in the store's file are part of its copy; those in another system are not, and may be
others when the run is replayed. So a replay returns what was found then and asks no server.
"""

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from callwise.calls.errors import CassetteMiss, FormatError
from callwise.calls.provider_errors import redacted_line
from callwise.memory.memory_errors import StoreFailed
from callwise.memory.stored_records import Embedding
from callwise.safe_text import shown
from callwise.wake.agent_memory import AgentMemory

__all__ = ["RECALLED", "PlayedMemory", "RecordedMemory"]

RECALLED = "recalled.jsonl"

MAX_NOTES = 1_000


class _Line(BaseModel):
    """One search, or one set of notes that was added.

    Args:
        key: that of the notes, or a digest of what was searched for.
        notes: found; none where it failed.
        problem: why it failed; empty where it did not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["search", "add"]
    agent: str
    key: str
    notes: Annotated[tuple[str, ...], Field(max_length=MAX_NOTES)] = ()
    problem: str = ""


def _searched(query: str, limit: int) -> str:
    text = f"{limit}\n{query}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


class RecordedMemory:
    """A memory whose answers are written down. An `AgentMemory`.

    Args:
        memory: answers. Not owned.
        write: called with each line, as a document.
    """

    def __init__(self, memory: AgentMemory, write: Callable[[object], object]) -> None:
        self._memory, self._write = memory, write

    async def search(
        self, agent: str, query: str, *, limit: int, embedding: Embedding | None = None
    ) -> list[str]:
        """Return notes of one agent; see `AgentMemory.search`."""
        line = _Line(kind="search", agent=agent, key=_searched(query, limit))
        try:
            notes = await self._memory.search(agent, query, limit=limit, embedding=embedding)
        except Exception as error:
            raise self._failed(line, error) from error
        self._note(line.model_copy(update={"notes": tuple(notes)}))
        return notes

    async def add(
        self,
        agent: str,
        texts: Sequence[str],
        *,
        key: str,
        at: float,
        embeddings: Sequence[Embedding | None] = (),
    ) -> None:
        """Add notes to an agent's memory; see `AgentMemory.add`."""
        line = _Line(kind="add", agent=agent, key=key)
        try:
            await self._memory.add(agent, texts, key=key, at=at, embeddings=embeddings)
        except Exception as error:
            raise self._failed(line, error) from error
        self._note(line)

    def _failed(self, line: _Line, error: Exception) -> StoreFailed:
        """Write down a failure, and return it as the error that a replay raises too."""
        is_ours = type(error) is StoreFailed
        problem = redacted_line(str(error) if is_ours else f"{type(error).__name__}: {error}")
        self._note(line.model_copy(update={"problem": problem or "failed"}))
        return StoreFailed(problem or "failed")

    def _note(self, line: _Line) -> None:
        self._write(line.model_dump(mode="json"))


class PlayedMemory:
    """The memory of a recording. An `AgentMemory` that keeps nothing.

    Args:
        path: the file, read whole; a broken last line, as of a killed run, is left out.
        on_miss: awaited with the error of a search that is not recorded, before it is raised.

    Raises:
        FormatError: when a line is none of such a file.
    """

    def __init__(self, path: Path, on_miss: Callable[[CassetteMiss], Awaitable[object]]) -> None:
        self._on_miss = on_miss
        self._lines: dict[tuple[str, str, str], deque[_Line]] = {}
        data = path.read_bytes()
        for number, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
            try:
                line = _Line.model_validate_json(text)
            except ValidationError as error:
                raise FormatError(path, number, "expected what a memory has answered") from error
            self._lines.setdefault((line.kind, line.agent, line.key), deque()).append(line)

    async def search(
        self,
        agent: str,
        query: str,
        *,
        limit: int,
        embedding: Embedding | None = None,  # noqa: ARG002 - of the interface
    ) -> list[str]:
        """Return the notes that the next equal search has found.

        Raises:
            CassetteMiss: when there is none.
            StoreFailed: when it failed.
        """
        line = self._next("search", agent, _searched(query, limit))
        if line is None:
            miss = CassetteMiss(
                f"the recording has no such search in the notes of {shown(agent)[:64]!r}: it was "
                "made with other agents, messages or knobs, or ended before"
            )
            await self._on_miss(miss)
            raise miss
        return list(line.notes)

    async def add(
        self,
        agent: str,
        texts: Sequence[str],  # noqa: ARG002 - of the interface, as the others
        *,
        key: str,
        at: float,  # noqa: ARG002
        embeddings: Sequence[Embedding | None] = (),  # noqa: ARG002
    ) -> None:
        """Return or fail as the notes of this key did. Those that are not recorded are taken.

        Raises:
            StoreFailed: when it failed.
        """
        self._next("add", agent, key)

    def _next(self, kind: str, agent: str, key: str) -> _Line | None:
        lines = self._lines.get((kind, agent, key))
        line = lines.popleft() if lines else None
        if line is not None and line.problem:
            raise StoreFailed(line.problem)
        return line
