"""Records of a memory about a user: turns, notes, summary, relationship, profile."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "AgentUser",
    "ConversationSummary",
    "Embedding",
    "Identity",
    "MemorySnapshot",
    "NewNote",
    "Note",
    "RecalledTurn",
    "TranscriptEntry",
    "TurnCommit",
    "escape_label",
]


def escape_label(identifier: str) -> str:
    """Return an untrusted identifier as one label of a store's namespace.

    Different identifiers give different labels. ASCII letters, digits and `-` stay;
    any other character becomes its code between equals signs, so that no store's
    separator or wildcard (`.`, `%`, `_`, `*`) is ever in a label, and none is empty.
    """
    chars = (
        char if char.isascii() and (char.isalnum() or char == "-") else f"={ord(char):X}="
        for char in identifier
    )
    return "".join(chars) or "="


_ANONYMOUS = "~"
"""Begins the label of a conversation without a user id; no escaped identifier has it."""


@dataclass(frozen=True, slots=True)
class AgentUser:
    """The owner of a memory: an agent and a user, or an agent and one anonymous conversation.

    Anonymous is not a name: a user whose id equals the conversation's has another memory.
    All ids are untrusted. `user_id` is None for an anonymous user, and `conversation_id` for
    any other.
    """

    agent_id: str
    user_id: str | None
    conversation_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse an owner that is both, or neither."""
        if (self.user_id is None) == (self.conversation_id is None):
            raise ValueError(
                "a memory belongs to a user or to one anonymous conversation, but "
                f"user_id={self.user_id!r} and conversation_id={self.conversation_id!r}. Give one"
            )

    def __str__(self) -> str:
        """Return the owner as errors name it."""
        if self.user_id is None:
            return (
                f"agent {self.agent_id!r} and the anonymous conversation {self.conversation_id!r}"
            )
        return f"agent {self.agent_id!r} and user {self.user_id!r}"

    @property
    def labels(self) -> tuple[str, str]:
        """The agent and the owner as two labels; different owners have different labels."""
        if self.user_id is None:
            return escape_label(self.agent_id), _ANONYMOUS + escape_label(
                self.conversation_id or ""
            )
        return escape_label(self.agent_id), escape_label(self.user_id)


class Identity(NamedTuple):
    """Agent, user (None is anonymous) and conversation of a turn.

    Two users may each have a conversation of the same id.
    """

    agent_id: str
    user_id: str | None
    conversation_id: str

    @property
    def agent_user(self) -> AgentUser:
        """The owner of the memory of its turns."""
        conversation_id = self.conversation_id if self.user_id is None else None
        return AgentUser(self.agent_id, self.user_id, conversation_id)

    @property
    def thread_id(self) -> str:
        """The name of its LangGraph checkpoints; different for any two identities."""
        return json.dumps(self)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector, and the model it is from. Vectors of two models are never compared."""

    model: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One turn of a conversation.

    Args:
        conversation_id: its conversation.
        turn: its number there, as the conversation counts.
        user_text: the user's message.
        reply: the agent's.
        time: ISO 8601, as the conversation has it, or None.
        version: the memory's version that this turn made. Starts at 1; over all
            conversations of the agent and user, without gaps.
    """

    conversation_id: str
    turn: int
    user_text: str
    reply: str
    time: str | None
    version: int


@dataclass(frozen=True, slots=True)
class NewNote:
    """Something learnt in a turn, not yet stored.

    Args:
        text: the note.
        evidence: verbatim words of the turn that prove it.
        kind: for example `fact`, `preference`, `event`, `promise`.
    """

    text: str
    evidence: str
    kind: str = "fact"

    def is_quoted_from(self, *texts: str) -> bool:
        """Return whether one of the texts contains the evidence verbatim."""
        return bool(self.evidence.strip()) and any(self.evidence in text for text in texts)


@dataclass(frozen=True, slots=True)
class Note:
    """A stored note. Its id is unique for the agent and user.

    Text, evidence and kind are as in `NewNote`; conversation, turn, time and version are those
    of the turn in which it was learnt.
    """

    id: str
    text: str
    evidence: str
    kind: str
    conversation_id: str
    turn: int
    time: str | None
    version: int


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A running summary up to a version of the memory, which is set on commit."""

    text: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class TurnCommit:
    """Everything that one turn changes, stored all or not at all.

    Conversation and turn are the identity of a commit: the same turn is stored once.

    Args:
        agent_user: the owner of the memory.
        conversation_id: its conversation.
        turn: its number there.
        user_text: the user's message.
        reply: the agent's.
        expected_version: the version of the snapshot that the turn started from.
        time: ISO 8601, or None.
        notes: their evidence must be verbatim in `user_text` or `reply`.
        summary: the new summary's text; None keeps the old.
        relationship: new values, as JSON; None keeps the old.
        profile: new facts about the user, as JSON; None keeps the old.
        embedding: a vector of the turn's text for dense retrieval, or None.
    """

    agent_user: AgentUser
    conversation_id: str
    turn: int
    user_text: str
    reply: str
    expected_version: int
    time: str | None = None
    notes: tuple[NewNote, ...] = ()
    summary: str | None = None
    relationship: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None
    embedding: Embedding | None = None

    def __post_init__(self) -> None:
        """Refuse notes whose evidence is not verbatim in the turn."""
        for note in self.notes:
            if not note.is_quoted_from(self.user_text, self.reply):
                raise ValueError(
                    f"the evidence {note.evidence!r} of a note is not in turn {self.turn} of "
                    f"{self.conversation_id!r}. Quote the turn verbatim, or leave the note out"
                )


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """A memory as of one version. It is empty for an unknown user.

    Args:
        agent_user: the owner of the memory.
        version: number of turns ever committed.
        profile: facts about the user.
        relationship: of agent and user.
        transcript: the last turns, oldest first.
        summary: of all turns, or None.
        notes: the last notes, oldest first.
        names_anonymous: whether it was stored by an older release, which named anonymous users.
    """

    agent_user: AgentUser
    version: int = 0
    profile: Mapping[str, Any] = field(default_factory=dict)
    relationship: Mapping[str, Any] = field(default_factory=dict)
    transcript: tuple[TranscriptEntry, ...] = ()
    summary: ConversationSummary | None = None
    notes: tuple[Note, ...] = ()
    names_anonymous: bool = False


@dataclass(frozen=True, slots=True)
class RecalledTurn:
    """A turn that was found for a question, with its notes.

    `relevance` is above 0 and comparable within one result only.
    """

    entry: TranscriptEntry
    notes: tuple[Note, ...]
    relevance: float
