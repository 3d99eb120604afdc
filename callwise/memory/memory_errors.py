"""Errors of memory backends.

CallwiseError
|- ConfigError, FormatError    a file that cannot be opened
`- StoreFailed                 reading or writing failed; nothing was committed
   |- StoreFull                the disk is full
   |- StoreLocked              another process has locked it for too long
   |- StoreDamaged             its content contradicts itself or cannot be read
   `- MemoryConflict           another commit came in between
"""

from callwise.calls.errors import CallwiseError

__all__ = ["MemoryConflict", "StoreDamaged", "StoreFailed", "StoreFull", "StoreLocked"]


class StoreFailed(CallwiseError):
    """Reading or writing the store failed. Nothing was committed."""


class StoreFull(StoreFailed):
    """The disk of the store is full."""


class StoreLocked(StoreFailed):
    """Another process has locked the store for longer than the busy timeout."""


class StoreDamaged(StoreFailed):
    """The content of the store contradicts itself or cannot be read."""


class MemoryConflict(StoreFailed):
    """Another turn was committed for this user between load and commit.

    `expected_version` is the one that the commit started from; `stored_version` is None where
    it was not seen.
    """

    def __init__(
        self, agent_id: str, user_id: str | None, expected_version: int, stored_version: int | None
    ) -> None:
        now = "another" if stored_version is None else str(stored_version)
        super().__init__(
            f"the memory of agent {agent_id!r} about user {user_id!r} was changed in between: "
            f"this turn started from version {expected_version} and the store has {now}. "
            "Nothing was committed. Two processes or two concurrent conversations write for the "
            "same user. Load the memory again and repeat the turn."
        )
        self.agent_id = agent_id
        self.user_id = user_id
        self.expected_version = expected_version
        self.stored_version = stored_version
