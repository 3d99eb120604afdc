"""What a process knows of one agent and user: every turn, indexed, and the state they made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnwise.memory.codec import embedding_of, entry_of, notes_of
from turnwise.memory.errors import StoreDamaged
from turnwise.memory.records import Note, TranscriptEntry, TurnCommit
from turnwise.memory.retrieval import TurnIndex
from turnwise.memory.shelf import KeptTurn

__all__ = ["OWNERS_FIELD", "Known", "next_state", "version_of"]

OWNERS_FIELD = "owners"
"""Names the field of a state by which it is told that anonymous users have no name in it."""

_MAX_INDEXED_CHARS = 10_000
"""How much of a text it can be found by. A pasted book is kept whole, and is found by
its beginning: indexing all of it would hold up every other conversation.
"""


@dataclass(slots=True)
class Known:
    """Turns 1 to `version`, whole and in order.

    Args:
        state: as it was last read or written; the one that the last turn made.
        entries: the turns.
        notes: each turn's notes.
        index: to find turns by.
        version_of_turn: which version a conversation's turn made.
    """

    state: Mapping[str, Any] = field(default_factory=dict)
    entries: list[TranscriptEntry] = field(default_factory=list)
    notes: list[tuple[Note, ...]] = field(default_factory=list)
    index: TurnIndex = field(default_factory=TurnIndex)
    version_of_turn: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """How many turns are known."""
        return len(self.entries)

    def add(self, turn: KeptTurn) -> None:
        """Take in the next turn; one that is known already is left as it is."""
        if turn.version <= self.version:
            return
        entry, notes = entry_of(turn), notes_of(turn)
        texts = (entry.user_text, entry.reply, *(note.text for note in notes))
        self.index.add(
            "\n".join(text[:_MAX_INDEXED_CHARS] for text in texts),
            conversation_id=entry.conversation_id,
            time=entry.time,
            embedding=embedding_of(turn),
        )
        self.entries.append(entry)
        self.notes.append(notes)
        self.version_of_turn.setdefault((entry.conversation_id, entry.turn), turn.version)


def version_of(state: Mapping[str, Any]) -> int:
    """Return a stored state's version; 0 for an empty one.

    Raises:
        StoreDamaged: when it is no count.
    """
    version = state.get("version", 0)
    if not isinstance(version, int) or version < 0:
        raise StoreDamaged(f"a stored state has version={version!r} where a count was expected")
    return version


def next_state(state: Mapping[str, Any], commit: TurnCommit, version: int) -> dict[str, Any]:
    """Return the state that a commit makes, with the one before it inside."""
    previous = {name: content for name, content in state.items() if name != "previous"}
    following = {
        "version": version,
        OWNERS_FIELD: "typed",
        "last_turn": [commit.conversation_id, commit.turn],
        "profile": previous.get("profile"),
        "relationship": previous.get("relationship"),
        "summary": previous.get("summary"),
        "previous": previous,
    }
    if commit.profile is not None:
        following["profile"] = dict(commit.profile)
    if commit.relationship is not None:
        following["relationship"] = dict(commit.relationship)
    if commit.summary is not None:
        following["summary"] = {"text": commit.summary, "version": version}
    return following
