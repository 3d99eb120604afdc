"""Records as JSON objects and back.

What comes back was written by this package, possibly by an older one, or edited by
hand: a missing or wrong field is an error that names it, never a default.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from turnwise.memory.errors import StoreDamaged
from turnwise.memory.records import Embedding, Note, TranscriptEntry, TurnCommit
from turnwise.memory.shelf import KeptTurn

__all__ = ["embedding_of", "entry_of", "kept_turn", "notes_of"]


def kept_turn(commit: TurnCommit, version: int) -> KeptTurn:
    """Return what a commit keeps of its turn."""
    told = {
        "conversation_id": commit.conversation_id,
        "turn": commit.turn,
        "time": commit.time,
    }
    entry: dict[str, Any] = {**told, "user_text": commit.user_text, "reply": commit.reply}
    if commit.embedding is not None:
        vector = np.asarray(commit.embedding.vector, dtype="<f4")
        entry["embedding"] = {
            "model": commit.embedding.model,
            "float32_base64": base64.b64encode(vector.tobytes()).decode(),
        }
    notes = [
        {**told, "text": note.text, "evidence": note.evidence, "kind": note.kind}
        for note in commit.notes
    ]
    return KeptTurn(version=version, entry=entry, notes=notes)


def _field(value: Mapping[str, Any], name: str, kind: type) -> Any:
    content = value.get(name)
    if not isinstance(content, kind) or isinstance(content, bool):
        raise StoreDamaged(
            f"a stored record has {name}={content!r} where {kind.__name__} was expected"
        )
    return content


def _time(value: Mapping[str, Any]) -> str | None:
    return None if value.get("time") is None else str(_field(value, "time", str))


def entry_of(turn: KeptTurn) -> TranscriptEntry:
    """Return a kept turn's transcript entry.

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


def notes_of(turn: KeptTurn) -> tuple[Note, ...]:
    """Return a kept turn's notes, in the order they were made.

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


def embedding_of(turn: KeptTurn) -> Embedding | None:
    """Return a kept turn's vector, or None where it has none.

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
