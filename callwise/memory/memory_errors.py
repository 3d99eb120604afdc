"""Everything that can go wrong with a memory backend.

CallwiseError
|- ConfigError, FormatError    a file that cannot be opened as asked
`- StoreFailed                 the backend could not do it; nothing was committed
   |- StoreFull                no room left where it is stored
   |- StoreLocked              another process held it for too long
   |- StoreDamaged             its content contradicts itself
   `- MemoryConflict           another commit came in between
"""

from callwise.calls.errors import CallwiseError

__all__ = ["MemoryConflict", "StoreDamaged", "StoreFailed", "StoreFull", "StoreLocked"]


class StoreFailed(CallwiseError):
    """The store could not do what was asked. Nothing of it was committed."""


class StoreFull(StoreFailed):
    """There is no room left where the store is kept."""


class StoreLocked(StoreFailed):
    """Another process held the store for longer than the busy timeout."""


class StoreDamaged(StoreFailed):
    """What the store holds contradicts itself or cannot be read."""


class MemoryConflict(StoreFailed):
    """Somebody else committed for this user between load and commit.

    Args:
        agent_id: the agent.
        user_id: the user; None is anonymous.
        expected_version: the version that the commit stood on.
        stored_version: the version that the store has; None where it was not seen.
    """

    def __init__(
        self, agent_id: str, user_id: str | None, expected_version: int, stored_version: int | None
    ) -> None:
        now = "another" if stored_version is None else str(stored_version)
        super().__init__(
            f"the memory of agent {agent_id!r} about user {user_id!r} was changed in between: "
            f"this turn stands on version {expected_version} and the store has {now}. "
            "Nothing was committed. Two processes, or two conversations at once, "
            "write for the same user: load again and redo the turn."
        )
        self.agent_id = agent_id
        self.user_id = user_id
        self.expected_version = expected_version
        self.stored_version = stored_version
