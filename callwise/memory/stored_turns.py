"""Turns and states as a memory backend stores them, in JSON, and the protocol of a backend.

Stored records may be of an older release or edited by hand: a missing or wrong field is an
error that names it, never a default.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import UnionType
from typing import Any, Protocol

import numpy as np

from callwise.calls.payload import json_bytes, json_object
from callwise.memory.memory_errors import StoreDamaged
from callwise.memory.stored_records import AgentUser, Embedding, Note, TranscriptEntry, TurnCommit

__all__ = [
    "StorageBackend",
    "StoredTurn",
    "embedding_of",
    "entry_of",
    "json_copy",
    "notes_of",
    "stored_turn",
]


def json_copy(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy, as a store would return it."""
    return json_object(json_bytes(document))


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One turn as it is stored: its version (see `TranscriptEntry`), and unread JSON objects."""

    version: int
    entry: Mapping[str, Any]
    notes: Sequence[Mapping[str, Any]]


class StorageBackend(Protocol):
    """Storage of turns and of one small state per owner."""

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state of the last commit, or None for an unknown user. It has `version`."""
        ...

    async def turns(self, agent_user: AgentUser, *, after: int, upto: int) -> list[StoredTurn]:
        """Return the turns with versions above `after` and up to `upto`, in order.

        Raises:
            StoreDamaged: when one is missing.
        """
        ...

    async def append(
        self, agent_user: AgentUser, turn: StoredTurn, state: Mapping[str, Any]
    ) -> None:
        """Store a turn and the state that it makes, all or nothing.

        Raises:
            MemoryConflict: when the stored version is not `turn.version - 1`.
        """
        ...


def stored_turn(commit: TurnCommit, version: int) -> StoredTurn:
    """Return a commit's turn as it is stored."""
    shared = {
        "conversation_id": commit.conversation_id,
        "turn": commit.turn,
        "time": commit.time,
    }
    entry: dict[str, Any] = {**shared, "user_text": commit.user_text, "reply": commit.reply}
    if commit.embedding is not None:
        vector = np.asarray(commit.embedding.vector, dtype="<f4")
        entry["embedding"] = {
            "model": commit.embedding.model,
            "float32_base64": base64.b64encode(vector.tobytes()).decode(),
        }
    return StoredTurn(version, entry, [{**shared, **asdict(note)} for note in commit.notes])


_WHEN: Mapping[str, type | UnionType] = {"conversation_id": str, "turn": int, "time": str | None}


def _fields(value: Mapping[str, Any], **kinds: type | UnionType) -> dict[str, Any]:
    """Return the fields of a stored record that have these names and types.

    Raises:
        StoreDamaged: when one is missing or of another type.
    """
    for name, kind in kinds.items():
        content = value.get(name)
        if not isinstance(content, kind) or isinstance(content, bool):
            expected = getattr(kind, "__name__", kind)
            raise StoreDamaged(
                f"a stored record has {name}={content!r} where {expected} was expected"
            )
    return {name: value.get(name) for name in kinds}


def entry_of(turn: StoredTurn) -> TranscriptEntry:
    """Return a stored turn's transcript entry.

    Raises:
        StoreDamaged: when a field is missing or of another type.
    """
    fields = _fields(turn.entry, **_WHEN, user_text=str, reply=str)
    return TranscriptEntry(**fields, version=turn.version)


def notes_of(turn: StoredTurn) -> tuple[Note, ...]:
    """Return a stored turn's notes, in the order in which they were made.

    Raises:
        StoreDamaged: when a field is missing or of another type.
    """
    return tuple(
        Note(
            id=f"{turn.version}-{place}",
            **_fields(value, **_WHEN, text=str, evidence=str, kind=str),
            version=turn.version,
        )
        for place, value in enumerate(turn.notes)
    )


def embedding_of(turn: StoredTurn) -> Embedding | None:
    """Return a stored turn's vector, or None where it has none.

    Raises:
        StoreDamaged: when it is there and cannot be read.
    """
    if turn.entry.get("embedding") is None:
        return None
    value = _fields(turn.entry, embedding=dict)["embedding"]
    fields = _fields(value, model=str, float32_base64=str)
    try:
        data = base64.b64decode(fields["float32_base64"], validate=True)
        vector = np.frombuffer(data, dtype="<f4")
    except ValueError as error:
        raise StoreDamaged(f"a stored embedding cannot be read: {error}") from error
    return Embedding(fields["model"], tuple(map(float, vector)))
