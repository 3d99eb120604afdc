"""The book's shelf in any LangGraph store: SQLite, memory, Postgres, Redis.

Namespaces are `("turnwise", agent, user, "transcript" | "notes" | "state")`; `~` and the
conversation stand for a user who is anonymous. A turn is one `abatch`. Where the store can
commit on a condition (`SqliteMemoryStore` can) the version is checked inside the same
transaction. LangGraph's own stores cannot: there it is checked right before, so two
processes that commit in the same millisecond may both succeed; the book of the one that
lost notices at its next load and says so.

Versions are written as digits of fixed length, since some stores compare filter
values as text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from langgraph.store.base import BaseStore, GetOp, Op, PutOp, Result, SearchItem, SearchOp

from turnwise.memory.book import MemoryBook
from turnwise.memory.errors import MemoryConflict, StoreChanged, StoreDamaged
from turnwise.memory.records import AgentUser
from turnwise.memory.shelf import KeptTurn

__all__ = ["ConditionalStore", "StoreShelf", "open_book"]

_STATE_KEY = "state"


@runtime_checkable
class ConditionalStore(Protocol):
    """A store that can commit a batch on a condition, in one transaction."""

    async def abatch_if(
        self,
        ops: Sequence[Op],
        *,
        namespace: tuple[str, ...],
        key: str,
        field: str,
        equals: object,
    ) -> list[Result]:
        """Do the operations if an item's field equals a value; see `SqliteMemoryStore`."""
        ...


def _digits(version: int) -> str:
    return f"{version:012d}"


class StoreShelf:
    """Turns and states in a LangGraph store.

    Args:
        store: whose `abatch` is all or nothing if a crash is not to split a turn. A
            turn that is split all the same is not seen and is overwritten.
        page_items: items asked for in one search; at least 1. No more than the store
            gives at a time.
    """

    def __init__(self, store: BaseStore, *, page_items: int = 500) -> None:
        self._store = store
        self._page_items = page_items

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state last kept, or None for a stranger."""
        op = GetOp(agent_user.namespace("state"), _STATE_KEY)
        (item,) = await self._store.abatch([op])
        return getattr(item, "value", None)

    async def turns(self, agent_user: AgentUser, *, after: int, upto: int) -> list[KeptTurn]:
        """Return the turns with versions above `after` and up to `upto`, in order.

        Raises:
            StoreDamaged: when one is missing.
        """
        entries = await self._values(agent_user.namespace("transcript"), after)
        notes = await self._values(agent_user.namespace("notes"), after)
        turns = []
        for version in range(after + 1, upto + 1):
            entry = entries.get(_digits(version))
            if entry is None:
                raise StoreDamaged(
                    f"turn {version} of {upto} of agent {agent_user.agent_id!r} and user "
                    f"{agent_user.user_id!r} is missing from the store"
                )
            keys = [f"{_digits(version)}-{place:03d}" for place in range(entry["note_count"])]
            missing = [key for key in keys if key not in notes]
            if missing:
                raise StoreDamaged(f"notes {missing} are missing from the store")
            turns.append(KeptTurn(version, entry, [notes[key] for key in keys]))
        return turns

    async def _values(self, namespace: tuple[str, ...], after: int) -> dict[str, Mapping[str, Any]]:
        """Return the values in a namespace with versions above `after`, by key."""
        values: dict[str, Mapping[str, Any]] = {}
        newer = {"version": {"$gt": _digits(after)}} if after else None
        offset = 0
        while True:
            op = SearchOp(namespace, filter=newer, limit=self._page_items, offset=offset)
            (page,) = await self._store.abatch([op])
            found = page if isinstance(page, list) else []
            items = [item for item in found if isinstance(item, SearchItem)]
            # A store may treat the prefix as text and return a neighbour's items too.
            values.update((item.key, item.value) for item in items if item.namespace == namespace)
            if len(found) < self._page_items:
                return values
            offset += self._page_items

    async def keep(self, agent_user: AgentUser, turn: KeptTurn, state: Mapping[str, Any]) -> None:
        """Keep a turn and the state that it makes, all or nothing.

        Raises:
            MemoryConflict: when the stored version is not `turn.version - 1`.
        """
        version = _digits(turn.version)
        entry = {**turn.entry, "version": version, "note_count": len(turn.notes)}
        ops: list[Op] = [PutOp(agent_user.namespace("transcript"), version, entry, index=False)]
        for place, note in enumerate(turn.notes):
            kept_note = {**note, "version": version}
            key = f"{version}-{place:03d}"
            ops.append(PutOp(agent_user.namespace("notes"), key, kept_note, index=False))
        ops.append(PutOp(agent_user.namespace("state"), _STATE_KEY, dict(state), index=False))
        expected = turn.version - 1
        if isinstance(self._store, ConditionalStore):
            try:
                await self._store.abatch_if(
                    ops,
                    namespace=agent_user.namespace("state"),
                    key=_STATE_KEY,
                    field="version",
                    equals=expected or None,
                )
            except StoreChanged as changed:
                found = changed.found if isinstance(changed.found, int) else None
                raise MemoryConflict(
                    agent_user.agent_id, agent_user.user_id, expected, found
                ) from None
            return
        stored = (await self.state(agent_user) or {}).get("version", 0)
        if stored != expected:
            raise MemoryConflict(agent_user.agent_id, agent_user.user_id, expected, stored)
        await self._store.abatch(ops)


def open_book(store: BaseStore, *, max_users: int = 256) -> MemoryBook:
    """Return a memory book over a LangGraph store.

    Args:
        store: any; the book does not close it.
        max_users: how many users' indexes stay in memory.
    """
    return MemoryBook(StoreShelf(store), max_users=max_users)
