"""What a memory backend stores: turns and states as JSON, and the protocol of a backend.

Records that come back were written by this package, possibly by an older one, or edited by
hand: a missing or wrong field is an error that names it, never a default. A user's text may
contain a lone surrogate, which UTF-8 and so the quick encoder refuse; such a document is
written with escapes, and read back the same.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson

from callwise.memory.memory_errors import StoreDamaged
from callwise.memory.records import AgentUser, Embedding, Note, TranscriptEntry, TurnCommit

__all__ = [
    "StorageBackend",
    "StoredTurn",
    "embedding_of",
    "entry_of",
    "json_bytes",
    "json_copy",
    "json_value",
    "notes_of",
    "stored_turn",
]


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON.

    Raises:
        TypeError: when it holds something that JSON cannot, such as a set or a key
            that is no string.
    """
    try:
        return orjson.dumps(document)
    except TypeError as error:
        if "surrogates" not in str(error):
            raise
    return json.dumps(document, ensure_ascii=True, allow_nan=False).encode()


def json_value(data: bytes) -> dict[str, Any]:
    """Return the document that `json_bytes` wrote.

    Raises:
        ValueError: when it is not a JSON object.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, got {type(document).__name__}")  # noqa: TRY004 - bad data, not a bad argument
    return document


def json_copy(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy, as it would come back from a store."""
    return json_value(json_bytes(document))


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One turn as it is stored: JSON objects, not yet read.

    Args:
        version: the memory's version that this turn made. Starts at 1.
        entry: the transcript entry.
        notes: the turn's notes.
    """

    version: int
    entry: Mapping[str, Any]
    notes: Sequence[Mapping[str, Any]]


class StorageBackend(Protocol):
    """Storage of turns and of one small state per owner."""

    async def state(self, agent_user: AgentUser) -> Mapping[str, Any] | None:
        """Return the state of the last commit, or None for a stranger. It has `version`."""
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
    """Return what is stored of a commit's turn."""
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
    notes = [
        {**shared, "text": note.text, "evidence": note.evidence, "kind": note.kind}
        for note in commit.notes
    ]
    return StoredTurn(version=version, entry=entry, notes=notes)


def _field(value: Mapping[str, Any], name: str, kind: type) -> Any:
    content = value.get(name)
    if not isinstance(content, kind) or isinstance(content, bool):
        raise StoreDamaged(
            f"a stored record has {name}={content!r} where {kind.__name__} was expected"
        )
    return content


def _time(value: Mapping[str, Any]) -> str | None:
    return None if value.get("time") is None else str(_field(value, "time", str))


def entry_of(turn: StoredTurn) -> TranscriptEntry:
    """Return a stored turn's transcript entry.

    Raises:
        StoreDamaged: when a field is missing or of another type.
    """
    value = turn.entry
    return TranscriptEntry(
        conversation_id=_field(value, "conversation_id", str),
        turn=_field(value, "turn", int),
        user_text=_field(value, "user_text", str),
        reply=_field(value, "reply", str),
        time=_time(value),
        version=turn.version,
    )


def notes_of(turn: StoredTurn) -> tuple[Note, ...]:
    """Return a stored turn's notes, in the order they were made.

    Raises:
        StoreDamaged: when a field is missing or of another type.
    """
    return tuple(
        Note(
            id=f"{turn.version}-{place}",
            text=_field(value, "text", str),
            evidence=_field(value, "evidence", str),
            kind=_field(value, "kind", str),
            conversation_id=_field(value, "conversation_id", str),
            turn=_field(value, "turn", int),
            time=_time(value),
            version=turn.version,
        )
        for place, value in enumerate(turn.notes)
    )


def embedding_of(turn: StoredTurn) -> Embedding | None:
    """Return a stored turn's vector, or None where it has none.

    Raises:
        StoreDamaged: when it is there and cannot be read.
    """
    value = turn.entry.get("embedding")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise StoreDamaged(f"a stored record has embedding={value!r} where an object was expected")
    try:
        data = base64.b64decode(_field(value, "float32_base64", str), validate=True)
        vector = np.frombuffer(data, dtype="<f4")
    except ValueError as error:
        raise StoreDamaged(f"a stored embedding cannot be read: {error}") from error
    return Embedding(model=_field(value, "model", str), vector=tuple(map(float, vector)))
