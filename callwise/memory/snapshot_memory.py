"""Memory as it was before each turn of a finished run.

`SnapshotBackend` stores every turn and the state that it made, in this process.
`SnapshotMemory` reads such a backend as it was before a given turn, in any order and any
number of times, and stores nothing: so any number of settings can be tried on the same past.
"""

from collections.abc import Mapping
from typing import Any

from callwise.memory.conversation_memory import CommitResult, ConversationMemory, UserIndex
from callwise.memory.memory_errors import MemoryConflict, StoreFailed
from callwise.memory.stored_records import AgentUser, TurnCommit
from callwise.memory.stored_turns import StoredTurn, json_copy

__all__ = ["SnapshotBackend", "SnapshotMemory"]


class SnapshotBackend:
    """A `StorageBackend` in memory that keeps the state after every turn."""

    def __init__(self) -> None:
        self._turns: dict[AgentUser, list[StoredTurn]] = {}
        self._states: dict[AgentUser, list[Mapping[str, Any]]] = {}

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state of the last commit, or None for an unknown user."""
        states = self._states.get(agent_user)
        return json_copy(states[-1]) if states else None

    def state_at(self, agent_user: AgentUser, version: int) -> Mapping[str, Any]:
        """Return the state that the turn of a version made; empty at version 0."""
        return self._states[agent_user][version - 1] if version else {}

    async def turns(self, agent_user: AgentUser, *, after: int, upto: int) -> list[StoredTurn]:
        """Return the turns with versions above `after` and up to `upto`, in order."""
        return self._turns.get(agent_user, [])[after:upto]

    async def append(
        self, agent_user: AgentUser, turn: StoredTurn, state: Mapping[str, Any]
    ) -> None:
        """Store a turn and the state that it makes.

        Raises:
            MemoryConflict: when the stored version is not `turn.version - 1`.
        """
        turns = self._turns.setdefault(agent_user, [])
        if len(turns) != turn.version - 1:
            raise MemoryConflict(agent_user, turn.version - 1, len(turns))
        turns.append(turn)
        self._states.setdefault(agent_user, []).append(json_copy(state))


class SnapshotMemory(ConversationMemory):
    """A memory in which each turn of a finished run starts from what preceded it in that run.

    A commit is checked and not stored: the next turn starts from the finished run's memory,
    whose backend is never written.
    """

    def __init__(self, backend: SnapshotBackend, *, max_users: int = 4096) -> None:
        super().__init__(backend, max_users=max_users)
        self._snapshots = backend

    def _start(
        self, agent_user: AgentUser, known: UserIndex, before_turn: tuple[str, int] | None
    ) -> tuple[Mapping[str, Any], int]:
        """Return the state and the version before a turn of the finished run.

        Raises:
            StoreFailed: when that run had no such turn.
        """
        if before_turn is None or before_turn not in known.version_of_turn:
            raise StoreFailed(f"the recorded past of {agent_user} has no turn {before_turn}")
        version = known.version_of_turn[before_turn] - 1
        return self._snapshots.state_at(agent_user, version), version

    async def commit(self, commit: TurnCommit) -> CommitResult:
        """Return the result that storing the turn would have had.

        Raises:
            ConfigError: when a vector does not fit its model's earlier ones.
        """
        known = await self._refreshed(commit.agent_user)
        if commit.embedding is not None:
            known.index.check(commit.embedding)
        return CommitResult(commit.expected_version + 1, was_new=True)
