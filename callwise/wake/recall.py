"""Notes of a wake: each agent's query to its own, its new note, and the embeddings of both.

A memory that a user has brought is asked here, and is given what waits for it.

With `wake.retrieval=both` an agent's query and its new note are embedded, with one call of the
role EMBED each. Equal queries of one wake share a request, and the layer `batch` joins notes into
requests.

Invariants: a failed embedding costs its agent the vector and nothing else; a brought memory that
fails costs its agents their notes of that wake and nothing else. The reason is reported.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Container, Iterable, Sequence
from typing import NamedTuple

from callwise.budget.budgeter import Budgeter
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role
from callwise.calls.errors import ConfigError
from callwise.memory.stored_records import Embedding
from callwise.safe_text import clipped
from callwise.wake.agent_memory import AgentMemory, StoredNotes
from callwise.wake.agents import MAX_NAME_CHARS
from callwise.wake.store import WakeStore
from callwise.wake.waiting_notes import put_waiting
from callwise.wake.wake_prompts import ChatLine
from callwise.wake.wake_report import one_line

__all__ = ["STARTS_TOGETHER", "Embedded", "Recall", "Recalled", "note_of", "query_of"]

MAX_NOTE_CHARS = 500
"""Longest line in a note, in characters."""

MAX_QUERY_CHARS = 2_000
"""Longest query to an agent's notes, in characters."""

STARTS_TOGETHER = 8
"""Agents that are prepared or asked before others on the loop have their turn."""

SEARCHED_TOGETHER = 64
"""Agents whose notes are searched concurrently in a memory that was brought."""

_QUERY_LINES = 4
"""Lines of the chat, the newest, that are looked for."""


class Embedded(NamedTuple):
    """A text with its embedding, or why there is none.

    Args:
        problem: one line; empty where nothing failed. Untrusted.
    """

    text: str
    embedding: Embedding | None = None
    problem: str = ""


class Recalled(NamedTuple):
    """Notes that an agent has found.

    Args:
        agent: its id.
        notes: their texts, from a memory that was brought.
        places: of the notes in the store: the texts of very many agents are not in memory together.
        problem: why something was not found, in one line; empty where nothing failed. Untrusted.
        error: of the store of the wake, which ends the agent's part; None where there is none.
    """

    agent: str
    notes: Sequence[str] = ()
    places: tuple[int, ...] = ()
    problem: str = ""
    error: Exception | None = None


def query_of(chat: Sequence[ChatLine]) -> str:
    """Return what agents look for in their notes: the newest lines of the chat."""
    lines = (clipped(text, MAX_NOTE_CHARS) for _, text in chat[-_QUERY_LINES:])
    return "\n".join(lines)[:MAX_QUERY_CHARS]


def note_of(
    text: str, cause: ChatLine | None, chat: Sequence[ChatLine], agents: Container[str]
) -> str:
    """Return what an agent notes of its message: that, and what a person wrote before it.

    Args:
        cause: the message that addresses the agent; None where it is the newest of a person.
        agents: ids of all agents.
    """
    note = f"I wrote: {clipped(text, MAX_NOTE_CHARS)}"
    cause = cause or next((line for line in reversed(chat) if line[0] not in agents), None)
    if cause is None:
        return note
    author = clipped(cause[0], MAX_NAME_CHARS)
    return f"{author} wrote: {clipped(cause[1], MAX_NOTE_CHARS)}\n{note}"


class Recall:
    """Finds agents' notes, and makes the embeddings of a wake.

    Args:
        store: of the wake.
        budgeter: serves the role EMBED where `embeds`. Not owned.
        embeds: whether there are any.
        memory: has the notes; None for those of the store.

    Raises:
        ConfigError: when a brought memory is to use embeddings.
    """

    def __init__(
        self,
        store: WakeStore,
        budgeter: Budgeter,
        *,
        embeds: bool,
        memory: AgentMemory | None = None,
    ) -> None:
        self._store, self._budgeter, self._embeds = store, budgeter, embeds
        self._memory = memory or StoredNotes(store.notes)
        is_own = isinstance(self._memory, StoredNotes) and self._memory.is_of(store.notes)
        self.is_brought = not is_own
        if self.is_brought and embeds:
            raise ConfigError(
                "wake.retrieval=both makes embeddings for the notes in the store's file, and a "
                "memory that is brought ranks by its own index. Use wake.retrieval=words"
            )

    async def found(
        self, queries: Iterable[tuple[str, Embedded]], *, limit: int
    ) -> AsyncIterator[Recalled]:
        """Yield what each agent finds of its notes, in order. Others have their turn in between.

        Where a brought memory fails for all that ask it together, the rest do not ask.

        Args:
            queries: agents, each with its query.
            limit: notes of each agent, at most.
        """
        together = SEARCHED_TOGETHER if self.is_brought else STARTS_TOGETHER
        rest, lost = iter(queries), ""
        while some := list(itertools.islice(rest, together)):
            if self.is_brought and not lost:
                ends = await asyncio.gather(*(self._brought(*each, limit) for each in some))
                lost = ends[0].problem if all(each.problem for each in ends) else ""
                for end in ends:
                    yield end
                continue
            for agent, query in some:
                yield Recalled(agent, problem=lost) if lost else self._own(agent, query, limit)
            await asyncio.sleep(0)

    def _own(self, agent: str, query: Embedded, limit: int) -> Recalled:
        try:
            places = self._store.notes.find(
                agent, query.text, limit=limit, embedding=query.embedding
            )
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            return Recalled(agent, problem=query.problem, error=error)
        return Recalled(agent, places=tuple(places), problem=query.problem)

    async def _brought(self, agent: str, query: Embedded, limit: int) -> Recalled:
        try:
            notes = await self._memory.search(agent, query.text, limit=limit)
        except Exception as error:  # noqa: BLE001 - it has no notes in this wake
            return Recalled(agent, problem=one_line(error, f"the memory of {agent}"))
        return Recalled(agent, notes)

    def texts(self, recalled: Recalled) -> list[str]:
        """Return the texts of what an agent has found.

        Raises:
            StoreFailed: when the store cannot be read.
        """
        return [*recalled.notes, *self._store.notes.texts(recalled.agent, recalled.places)]

    async def put_waiting(self) -> None:
        """Put notes that wait into a memory that was brought, such as those of an earlier process.

        Raises:
            StoreFailed: when the store of the wake cannot be read or written.
        """
        if self.is_brought:
            await put_waiting(self._store.waiting, self._memory)

    async def put(self, agent: str, texts: Sequence[str], *, key: str, at: float) -> str:
        """Put notes that wait into a memory that was brought.

        Args:
            key: under which they wait.
            at: time of the notes, in UTC epoch seconds.

        Returns:
            Why they wait, in one line; empty where they do not. Untrusted.
        """
        if not self.is_brought:
            return ""
        try:
            await self._memory.add(agent, texts, key=key, at=at)
            self._store.waiting.remove(agent, key)
        except Exception as error:  # noqa: BLE001 - the message is published, and the note waits
            return one_line(error, f"the memory of {agent}")
        return ""

    async def add_facts(
        self, agent: str, facts: Sequence[Embedded], *, message_id: str, at: float
    ) -> tuple[list[str], str]:
        """Add facts to an agent's notes, but for those that are notes of the store already.

        Args:
            message_id: that of the message that they are of.
            at: time of the notes, in UTC epoch seconds.

        Returns:
            What was added, or waits for a memory that was brought; and why it waits, in one line.

        Raises:
            StoreFailed: when the store cannot be read or written.
        """
        notes, key = self._store.notes, f"facts:{message_id}"
        if self.is_brought:
            texts = [each.text for each in facts]
            self._store.waiting.add(agent, texts, key=key, at=at)
            return texts, await self.put(agent, texts, key=key, at=at)
        known = notes.known(agent, [each.text for each in facts])
        new = [each for each in facts if each.text not in known]
        texts = [each.text for each in new]
        notes.add_once(agent, texts, key=key, at=at, embeddings=[each.embedding for each in new])
        return texts, ""

    async def embedded(
        self, scope: Scope, agent: str, text: str, priority: Priority | None
    ) -> Embedded:
        """Return a text's embedding, of the model of the store's others, or why there is none.

        Args:
            scope: of the wake.
            agent: id of the agent whose text it is.
            priority: of the call; one that is CRITICAL waits for no other. None for the usual one.
        """
        if not self._embeds or not text.strip():
            return Embedded(text)
        call = Call(
            Role.EMBED,
            Purpose.EMBED,
            inputs=(text,),
            priority=priority,
            batch_key=None if priority is Priority.CRITICAL else "",
        )
        try:
            with scope.open(ScopeKind.NODE, f"notes:{agent}"):
                reply = await self._budgeter.ask(call)
            embedding = Embedding(reply.model or "unnamed", reply.vectors[0])
            self._store.notes.accept(embedding)
        except Exception as error:  # noqa: BLE001 - words are left to this agent
            return Embedded(text, problem=one_line(error, f"the embedding of {agent}"))
        return Embedded(text, embedding)

    async def queries(
        self,
        scope: Scope,
        agents: Sequence[str],
        chat: Sequence[ChatLine],
        priority: Priority | None,
    ) -> dict[str, Embedded]:
        """Return the embedding of the query of each agent, or why it has none.

        Args:
            scope: of the wake.
            agents: their ids.
            chat: its newest lines are the query.
            priority: as for `embedded`.
        """
        query = query_of(chat)
        if not self._embeds:
            return dict.fromkeys(agents, Embedded(query))
        async with asyncio.TaskGroup() as group:
            tasks = {}
            for number, agent in enumerate(agents, 1):
                asking = self.embedded(scope, agent, query, priority)
                tasks[agent] = group.create_task(asking)
                if number % STARTS_TOGETHER == 0:
                    await asyncio.sleep(0)
        return {agent: task.result() for agent, task in tasks.items()}
