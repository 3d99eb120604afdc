"""Memory of agents in any store of LangGraph: Postgres, Redis, in memory, or another.

The notes of an agent are the items of one namespace, `(*prefix, label of the agent)`. A value is
`{"text": ..., "at": ..., "agent": ...}`. Another program may add notes of this form; what has
another form is left out. A store with a semantic index ranks by it (its `query`), and embeds by
itself; without one the newest notes are read and words rank them.

Invariants: an item of any other namespace than the agent's is never returned, although a search
in LangGraph is by prefix, and some stores take the prefix as text. Nothing blocks the running
loop, unless that is asked for.
"""

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from langgraph.store.base import (
    BaseStore,
    InvalidNamespaceError,
    Op,
    PutOp,
    Result,
    SearchItem,
    validate_op_namespace,
)
from langgraph.store.base.batch import AsyncBatchedBaseStore

from callwise.calls.errors import ConfigError
from callwise.calls.payload import well_formed
from callwise.calls.redaction import redact
from callwise.memory.memory_errors import StoreFailed
from callwise.memory.packed_terms import TERM_TYPE, pack_terms
from callwise.memory.stored_records import Embedding
from callwise.safe_text import clipped, printable
from callwise.wake.agent_notes import best_places
from callwise.wake.store_file import checked_name, checked_time, checked_whole

__all__ = ["MAX_RANKED_NOTES", "PREFIX", "LangGraphMemory"]

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)

PREFIX = ("callwise", "notes")
"""Namespace in which those of the agents are."""

MAX_RANKED_NOTES = 1_000
"""Notes of an agent, the newest, that words rank."""

MAX_TEXT_CHARS = 20_000
"""Longest text that is taken for a note, in characters."""

_PAGE_ITEMS = 500
_MAX_PAGES = 100
"""Most pages that are read of a store that gives the oldest notes first."""

_PACKED_TOGETHER = 50
"""Notes whose terms are made before others on the loop have their turn."""

_MAX_ERROR_CHARS = 300

_AGENT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LABEL_OF = {"_": "__", ".": "_p", "-": "_d"}


class _Found(NamedTuple):
    at: float
    key: str
    text: str


def _label(agent: str) -> str:
    """Return the namespace's last label: different ones for different agents.

    LangGraph refuses points, and Redis separates words at `-`. With its end no label is the
    beginning of another, for stores that take a prefix as text.
    """
    if not _AGENT.fullmatch(agent):
        raise ConfigError(
            f"agent {clipped(agent, 64)!r}: use 1 to 64 letters, digits, `-`, `_` and `.`"
        )
    return "".join(_LABEL_OF.get(char, char) for char in agent) + "_e"


class _Together(AsyncBatchedBaseStore):
    """Gives the operations of one step of the loop to a store without asynchronous methods.

    Args:
        in_thread: whether it is called in a thread, never in two.
    """

    def __init__(self, store: BaseStore, *, in_thread: bool) -> None:
        super().__init__()
        self.supports_ttl, self.ttl_config = store.supports_ttl, store.ttl_config
        self._store, self._in_thread = store, in_thread

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Return the results of the operations, in their order."""
        together = list(ops)
        if self._in_thread:
            return await asyncio.to_thread(self._store.batch, together)
        return self._store.batch(together)


class LangGraphMemory:
    """Notes of agents in a store of LangGraph. An `AgentMemory`.

    Args:
        store: not owned, and set up (`setup()`). One that is an `AsyncBatchedBaseStore`, as
            `AsyncPostgresStore` and `AsyncRedisStore` are, is used on the running loop; any other
            is called in a thread, in one at a time.
        prefix: namespace in which those of the agents are. Two deployments whose agents have the
            same names need two.
        timeout_seconds: longest wait for the store, above 0. A thread that waits for it goes on.
        blocks_loop: call a store without asynchronous methods on the loop itself, as one of
            virtual time needs.
        secrets: passwords, kept out of every error.

    Raises:
        ConfigError: when the prefix is no namespace.

    Attributes:
        left_out: number of values that were left out, since they are no notes.
    """

    def __init__(
        self,
        store: BaseStore,
        *,
        prefix: tuple[str, ...] = PREFIX,
        timeout_seconds: float = 5.0,
        blocks_loop: bool = False,
        secrets: Collection[str] = (),
    ) -> None:
        self._store, self._prefix = store, tuple(prefix)
        self._timeout_seconds, self._blocks_loop = timeout_seconds, blocks_loop
        self._secrets = tuple(secrets)
        self._together: _Together | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._warned: set[str] = set()
        self.left_out = 0
        try:
            validate_op_namespace(PutOp((*self._prefix, "agent"), "key", {}))
        except InvalidNamespaceError as error:
            raise ConfigError(f"the namespace of agents' notes {prefix!r}: {error}") from error
        if not self._prefix or self._prefix[0] == "langgraph":
            raise ConfigError(
                f"the namespace of agents' notes is {prefix!r}. Use one or more labels, the first "
                "other than `langgraph`"
            )

    async def search(
        self,
        agent: str,
        query: str,
        *,
        limit: int,
        embedding: Embedding | None = None,  # noqa: ARG002 - of the interface
    ) -> list[str]:
        """Return notes of one agent, the best first.

        Args:
            agent: whose notes are searched.
            query: ranks the notes by the store's semantic index, or else by words among the
                newest `MAX_RANKED_NOTES`, followed by the newest others. An empty one finds the
                newest.
            limit: how many at most, at least 0.
            embedding: left out: the store embeds by itself.

        Raises:
            ConfigError: when the agent's name or the limit cannot be.
            StoreFailed: when the store fails, or does not answer in time.
        """
        namespace = (*self._prefix, _label(agent))
        if not checked_whole("the limit of notes", limit):
            return []
        text = _storable(query)
        if getattr(self._store, "index_config", None) and text.strip():
            best = await self._read(agent, namespace, query=text, most=limit)
            return [each.text for each in best[:limit]]
        notes = sorted(await self._read(agent, namespace, query=None, most=MAX_RANKED_NOTES))
        texts = [each.text for each in notes[-MAX_RANKED_NOTES:]]
        packed = []
        for number, each in enumerate(texts, 1):
            packed.append(pack_terms(each))
            if number % _PACKED_TOGETHER == 0:
                await asyncio.sleep(0)
        places = best_places(np.frombuffer(b"".join(packed), TERM_TYPE), text, limit)
        return [texts[place] for place in places]

    async def add(
        self,
        agent: str,
        texts: Sequence[str],
        *,
        key: str,
        at: float,
        embeddings: Sequence[Embedding | None] = (),  # noqa: ARG002 - of the interface
    ) -> None:
        """Add notes to an agent's memory, once for each key.

        Half characters and null characters, which databases refuse, become U+FFFD.

        Args:
            key: distinguishes these notes from the agent's others.
            at: their time, in UTC epoch seconds.
            embeddings: left out: the store embeds by itself.

        Raises:
            ConfigError: when the agent's name, the key or the time cannot be.
            StoreFailed: when the store fails, or does not answer in time. Some notes may be there;
                adding the same ones again completes them.
        """
        namespace = (*self._prefix, _label(agent))
        time = checked_time("the time of a note", at)
        keyed = _storable(checked_name("the key of notes", key))
        values = [{"text": _storable(text), "at": time, "agent": agent} for text in texts]

        async def put(store: BaseStore) -> None:
            puts = (
                store.aput(namespace, f"{keyed}:{number:03d}", value, index=["text"])
                for number, value in enumerate(values)
            )
            await asyncio.gather(*puts)

        await self._asked(put)

    async def _read(
        self, agent: str, namespace: tuple[str, ...], *, query: str | None, most: int
    ) -> list[_Found]:
        """Return notes in the store's order: at least `most` of those that it has, the newest.

        Args:
            query: of a search by the semantic index; None reads all.
        """
        found: dict[str, _Found] = {}
        size, offset, odd = min(most, _PAGE_ITEMS), 0, 0
        for _ in range(_MAX_PAGES):

            async def page(store: BaseStore, offset: int = offset) -> list[SearchItem]:
                return await store.asearch(namespace, query=query, limit=size, offset=offset)

            items = await self._asked(page)
            own = [item for item in items if tuple(item.namespace) == namespace]
            notes = [note for note in map(_note, own) if note is not None]
            odd += len(own) - len(notes)
            found.update((note.key, note) for note in notes)
            offset += len(items)
            # Of a store that gives the oldest first all are read.
            is_newest_first = query is not None or not notes or notes[0].at >= notes[-1].at
            if len(items) < size or (len(found) >= most and is_newest_first):
                break
        self._count_left_out(agent, odd)
        return list(found.values())

    def _count_left_out(self, agent: str, count: int) -> None:
        self.left_out += count
        if count and agent not in self._warned:
            self._warned.add(agent)
            _LOGGER.warning(
                "%d values in the namespace of agent %s are no notes, and are left out",
                count,
                agent,
            )

    async def _asked(self, ask: Callable[[BaseStore], Awaitable[T]]) -> T:
        """Return what a store answers.

        Raises:
            StoreFailed: when it fails, or does not answer in time.
        """
        name = type(self._store).__name__
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await ask(self._async_store())
        except TimeoutError:
            raise StoreFailed(
                f"the agents' notes in {name}: no answer within {self._timeout_seconds:g} s"
            ) from None
        except Exception as error:  # noqa: BLE001 - any store, and any database's errors
            text = redact(f"{type(error).__name__}: {error}", *self._secrets)
            _LOGGER.debug("%s failed: %s", name, text)
            raise StoreFailed(
                f"the agents' notes in {name}: {clipped(printable(text), _MAX_ERROR_CHARS)}"
            ) from None

    def _async_store(self) -> BaseStore:
        """Return the store with asynchronous methods that do not block the running loop."""
        if isinstance(self._store, AsyncBatchedBaseStore):
            return self._store
        loop = asyncio.get_running_loop()
        if self._together is None or self._loop is not loop:
            self._together = _Together(self._store, in_thread=not self._blocks_loop)
            self._loop = loop
        return self._together


def _storable(text: str) -> str:
    """Return a text that every database takes."""
    return well_formed(text).replace("\x00", "\ufffd")


def _note(item: SearchItem) -> _Found | None:
    """Return the note of an item, which any program may have written; None where it is none."""
    value: Any = item.value
    if not isinstance(value, Mapping):
        return None
    text, at = value.get("text"), value.get("at")
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT_CHARS:
        return None
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    try:
        time = float(at)
    except OverflowError:
        return None
    return _Found(time, str(item.key), text) if math.isfinite(time) else None
