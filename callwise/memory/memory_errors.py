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
from callwise.memory.stored_records import AgentUser

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

    `expected_version` is the one that the commit started from.
    """

    def __init__(self, agent_user: AgentUser, expected_version: int, stored_version: int) -> None:
        super().__init__(
            f"the memory of {agent_user} was changed in between: this turn started from version "
            f"{expected_version} and the store has {stored_version}. Nothing was committed. Two "
            "processes or two concurrent conversations write for the same user. Load the memory "
            "again and repeat the turn."
        )
        self.agent_user = agent_user
        self.expected_version = expected_version
        self.stored_version = stored_version
