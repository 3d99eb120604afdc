"""Notes of a wake: each agent's query to its own, its new note, and the embeddings of both.

With `wake.retrieval=both` an agent's query and its new note are embedded, with one call of the
role EMBED each. Equal queries of one wake share a request, and the layer `batch` joins notes into
requests.

Invariant: a failed embedding costs its agent the vector and nothing else; the reason is reported.
"""

import asyncio
from collections.abc import Container, Sequence
from typing import NamedTuple

from callwise.budget.budgeter import Budgeter
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role
from callwise.memory.stored_records import Embedding
from callwise.safe_text import clipped
from callwise.wake.agent_notes import AgentNotes
from callwise.wake.agents import MAX_NAME_CHARS
from callwise.wake.wake_prompts import ChatLine
from callwise.wake.wake_report import one_line

__all__ = ["STARTS_TOGETHER", "Embedded", "Recall", "note_of", "query_of"]

MAX_NOTE_CHARS = 500
"""Longest line in a note, in characters."""

MAX_QUERY_CHARS = 2_000
"""Longest query to an agent's notes, in characters."""

STARTS_TOGETHER = 8
"""Agents that are prepared or asked before others on the loop have their turn."""

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
    """Makes the embeddings of a wake.

    Args:
        budgeter: serves the role EMBED where `embeds`. Not owned.
        embeds: whether there are any.
    """

    def __init__(self, notes: AgentNotes, budgeter: Budgeter, *, embeds: bool) -> None:
        self._notes, self._budgeter, self._embeds = notes, budgeter, embeds

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
            self._notes.accept(embedding)
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
