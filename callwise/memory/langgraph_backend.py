"""Memory in any LangGraph store: in memory, Postgres, Redis.

Namespaces are `("callwise", agent, owner, "transcript" | "notes" | "state")`. A turn is one
`abatch`. LangGraph's interface has no conditional write, so the version is checked right
before the write: two processes that commit in the same millisecond may both succeed; the
memory of the one that lost notices at its next load and raises. `SqliteBackend` checks inside
the transaction.

Versions are digits of fixed length, since some stores compare filter values as text.
"""

from collections.abc import Mapping
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Op, PutOp, SearchItem, SearchOp

from callwise.memory.memory_errors import MemoryConflict, StoreDamaged
from callwise.memory.stored_records import AgentUser
from callwise.memory.stored_turns import StoredTurn

__all__ = ["LangGraphBackend"]

_STATE_KEY = "state"


def _digits(version: int) -> str:
    return f"{version:012d}"


def _namespace(agent_user: AgentUser, kind: str) -> tuple[str, ...]:
    return ("callwise", *agent_user.labels, kind)


class LangGraphBackend:
    """Turns and states in a LangGraph store. A `StorageBackend`.

    Args:
        store: its `abatch` should be all or nothing, so that a crash does not split a turn. A
            split turn is ignored and overwritten.
        page_items: items per search, at least 1; at most the store's own limit.
    """

    def __init__(self, store: BaseStore, *, page_items: int = 500) -> None:
        self._store = store
        self._page_items = page_items

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state of the last commit, or None for an unknown user."""
        op = GetOp(_namespace(agent_user, "state"), _STATE_KEY)
        (item,) = await self._store.abatch([op])
        return getattr(item, "value", None)

    async def turns(self, agent_user: AgentUser, *, after: int, upto: int) -> list[StoredTurn]:
        """Return the turns with versions above `after` and up to `upto`, in order.

        Raises:
            StoreDamaged: when one is missing.
        """
        entries = await self._values(_namespace(agent_user, "transcript"), after)
        notes = await self._values(_namespace(agent_user, "notes"), after)
        turns = []
        for version in range(after + 1, upto + 1):
            entry = entries.get(_digits(version))
            if entry is None:
                raise StoreDamaged(
                    f"turn {version} of {upto} of {agent_user} is missing from the store"
                )
            keys = [f"{_digits(version)}-{place:03d}" for place in range(entry["note_count"])]
            missing = [key for key in keys if key not in notes]
            if missing:
                raise StoreDamaged(f"notes {missing} are missing from the store")
            turns.append(StoredTurn(version, entry, [notes[key] for key in keys]))
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

    async def append(
        self, agent_user: AgentUser, turn: StoredTurn, state: Mapping[str, Any]
    ) -> None:
        """Store a turn and the state that it makes, all or nothing.

        Raises:
            MemoryConflict: when the stored version is not `turn.version - 1`.
        """
        version = _digits(turn.version)
        entry = {**turn.entry, "version": version, "note_count": len(turn.notes)}
        ops: list[Op] = [PutOp(_namespace(agent_user, "transcript"), version, entry, index=False)]
        for place, note in enumerate(turn.notes):
            key, stored_note = f"{version}-{place:03d}", {**note, "version": version}
            ops.append(PutOp(_namespace(agent_user, "notes"), key, stored_note, index=False))
        ops.append(PutOp(_namespace(agent_user, "state"), _STATE_KEY, dict(state), index=False))
        expected = turn.version - 1
        stored = (await self.state(agent_user) or {}).get("version", 0)
        if stored != expected:
            raise MemoryConflict(agent_user, expected, stored)
        await self._store.abatch(ops)
