"""What was said and learnt about each user: records, retrieval, and the book that keeps both.

This door opens on the records and errors, which are light. The rooms behind it:
`book.MemoryBook` (loads numpy; knows no store), `over_store.open_book` puts one over any
LangGraph store, `sqlite_store.SqliteMemoryStore` is one in a file (both load LangGraph).
"""

from turnwise.memory.errors import (
    MemoryConflict,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreLocked,
)
from turnwise.memory.records import (
    AgentUser,
    Embedding,
    Identity,
    MemorySnapshot,
    NewNote,
    Note,
    RecalledTurn,
    Summary,
    TranscriptEntry,
    TurnCommit,
)

__all__ = [
    "AgentUser",
    "Embedding",
    "Identity",
    "MemoryConflict",
    "MemorySnapshot",
    "NewNote",
    "Note",
    "RecalledTurn",
    "StoreDamaged",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
    "Summary",
    "TranscriptEntry",
    "TurnCommit",
]
