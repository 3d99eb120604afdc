"""Memory of agents: the notes that each of them finds again.

`StoredNotes` is the default, the notes in the file of `WakeStore`. Another memory may be brought,
such as a store of LangGraph (`callwise.wake.langgraph_memory`). Notes alone go through it:
credits, outbox, log and claims change together in one transaction, which LangGraph's stores do
not have.

Invariant: an agent's search returns notes of that agent alone.
"""

from collections.abc import Sequence
from typing import Protocol

from callwise.memory.stored_records import Embedding
from callwise.wake.agent_notes import AgentNotes

__all__ = ["AgentMemory", "StoredNotes"]


class AgentMemory(Protocol):
    """A memory of agents. Its methods must not block the running loop."""

    async def search(
        self, agent: str, query: str, *, limit: int, embedding: Embedding | None = None
    ) -> list[str]:
        """Return notes of one agent, the best first.

        Args:
            agent: whose notes are searched.
            query: an empty one finds the newest notes.
            limit: how many at most, at least 0.
            embedding: of the query; a memory may do without it.

        Raises:
            ConfigError: when the agent's name or the limit cannot be.
            StoreFailed: when the notes cannot be read.
        """
        ...

    async def add(
        self,
        agent: str,
        texts: Sequence[str],
        *,
        key: str,
        at: float,
        embeddings: Sequence[Embedding | None] = (),
    ) -> None:
        """Add notes to an agent's memory, once for each key.

        Args:
            key: distinguishes these notes from the agent's others. Adding the same ones again
                changes nothing.
            at: their time, in UTC epoch seconds.
            embeddings: of the texts, in their order, or None for one without; empty for none. A
                memory may do without them.

        Raises:
            ConfigError: when a name, the time or an embedding cannot be.
            StoreFailed: when the notes cannot be written.
        """
        ...


class StoredNotes:
    """The notes in the file of a store. An `AgentMemory`."""

    def __init__(self, notes: AgentNotes) -> None:
        self._notes = notes

    def is_of(self, notes: AgentNotes) -> bool:
        """Return whether these are the notes of a store, which its messages are published with."""
        return self._notes is notes

    async def search(
        self, agent: str, query: str, *, limit: int, embedding: Embedding | None = None
    ) -> list[str]:
        """Return notes of one agent; see `AgentNotes.search`."""
        return self._notes.search(agent, query, limit=limit, embedding=embedding)

    async def add(
        self,
        agent: str,
        texts: Sequence[str],
        *,
        key: str,
        at: float,
        embeddings: Sequence[Embedding | None] = (),
    ) -> None:
        """Add notes to an agent's memory; see `AgentNotes.add_once`."""
        self._notes.add_once(agent, texts, key=key, at=at, embeddings=embeddings)
