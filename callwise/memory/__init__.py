"""Memory of conversations: records, storage backends, retrieval.

This package exports the records and errors, which are light to import.
`conversation_memory.ConversationMemory` loads numpy; its backend is
`sqlite_backend.SqliteBackend`, a file, or `langgraph_backend.LangGraphBackend`, any LangGraph
store, which loads LangGraph.
"""

from callwise.memory.memory_errors import (
    MemoryConflict,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreLocked,
)
from callwise.memory.stored_records import (
    AgentUser,
    ConversationSummary,
    Embedding,
    Identity,
    MemorySnapshot,
    NewNote,
    Note,
    RecalledTurn,
    TranscriptEntry,
    TurnCommit,
)

__all__ = [
    "AgentUser",
    "ConversationSummary",
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
    "TranscriptEntry",
    "TurnCommit",
]
