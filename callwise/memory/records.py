"""Records of what is remembered about a user: turns, notes, summary, relationship, profile."""

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
    """Return an outside identifier as one label of a store's namespace.

    Different identifiers give different labels. ASCII letters, digits and `-` stay;
    any other character becomes its code between equals signs, so that no store's
    separator or wildcard (`.`, `%`, `_`, `*`) is ever in a label, and none is empty.
    """
    return "".join(map(_escape_char, identifier)) or "="


def _escape_char(char: str) -> str:
    return char if char.isascii() and (char.isalnum() or char == "-") else f"={ord(char):X}="


_ANONYMOUS = "~"
"""Begins the label of a conversation without a user id; no escaped identifier has it."""


@dataclass(frozen=True, slots=True)
class AgentUser:
    """The owner of a memory: an agent and a user, or an agent and one anonymous conversation.

    Anonymous is not a name: a user whose id equals the conversation's has another memory.

    Args:
        agent_id: the agent. Untrusted, as are the other two.
        user_id: the user; None is anonymous.
        conversation_id: the conversation of an anonymous user; None for any other.
    """

    agent_id: str
    user_id: str | None
    conversation_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse an owner that is both, or neither."""
        if (self.user_id is None) == (self.conversation_id is None):
            raise ValueError(
                "a memory belongs to a user or to one anonymous conversation: got "
                f"user {self.user_id!r} and conversation {self.conversation_id!r}. Give one"
            )

    @property
    def labels(self) -> tuple[str, str]:
        """The agent and the owner as two labels; different owners have different labels."""
        if self.user_id is not None:
            owner = escape_label(self.user_id)
        else:
            owner = _ANONYMOUS + escape_label(self.conversation_id or "")
        return escape_label(self.agent_id), owner


class Identity(NamedTuple):
    """Who talks with whom, and in which conversation.

    Args:
        agent_id: the agent.
        user_id: the user; None is anonymous.
        conversation_id: the conversation. Two users may each have one of the same id.
    """

    agent_id: str
    user_id: str | None
    conversation_id: str

    @property
    def agent_user(self) -> AgentUser:
        """The owner of the memory that a turn reads and writes."""
        conversation_id = self.conversation_id if self.user_id is None else None
        return AgentUser(self.agent_id, self.user_id, conversation_id)

    @property
    def thread_id(self) -> str:
        """The name of its checkpoints; different for any two identities."""
        return json.dumps(self)


@dataclass(frozen=True, slots=True)
class Embedding:
    """A vector, and the model it is from. Vectors of two models are never compared."""

    model: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One turn as it was said.

    Args:
        conversation_id: the conversation it belongs to.
        turn: its number there, as the conversation counts.
        user_text: what the user said.
        reply: what was replied.
        time: ISO 8601, as the conversation says it; None when it does not.
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
    """Something learnt in a turn, not yet kept.

    Args:
        text: what was learnt.
        evidence: the words it rests on; they stand verbatim in the turn.
        kind: such as `fact`, `preference`, `event`, `promise`.
    """

    text: str
    evidence: str
    kind: str = "fact"

    def is_quoted_from(self, *texts: str) -> bool:
        """Return whether the evidence stands verbatim in one of the texts."""
        return bool(self.evidence.strip()) and any(self.evidence in text for text in texts)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was learnt in a turn.

    Args:
        id: unique for the agent and user.
        text: what was learnt.
        evidence: the words it rests on, verbatim from the turn.
        kind: such as `fact`, `preference`, `event`, `promise`.
        conversation_id: the conversation it was learnt in.
        turn: the turn it was learnt in.
        time: of that turn.
        version: the memory's version that the turn made.
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
    """A running summary of everything so far.

    Args:
        text: the summary.
        version: the memory's version up to which it summarises; set on commit.
    """

    text: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class TurnCommit:
    """Everything that one turn changes, kept all or not at all.

    Args:
        agent_user: whose memory, about whom.
        conversation_id: the conversation.
        turn: the turn's number there. With the conversation it is the identity of
            a commit: the same turn is kept once.
        user_text: what the user said.
        reply: what was replied.
        expected_version: the version of the snapshot that the turn stood on.
        time: ISO 8601, or None.
        notes: what was learnt; evidence must stand verbatim in `user_text` or `reply`.
        summary: the new summary's text; None keeps the old.
        relationship: where the two stand now, as JSON would hold it; None keeps the old.
        profile: what the agent knows of the user, as JSON would hold it; None keeps the old.
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
        """Refuse notes that quote what was not said."""
        for note in self.notes:
            if not note.is_quoted_from(self.user_text, self.reply):
                raise ValueError(
                    f"a note's evidence stands verbatim in its turn; {note.evidence!r} does not "
                    f"stand in turn {self.turn} of {self.conversation_id!r}"
                )


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """What is remembered, as of one version.

    Args:
        agent_user: whose memory, about whom.
        version: how many turns were ever committed; 0 for a stranger.
        profile: what the agent knows of the user. Empty for a stranger.
        relationship: where the two stand. Empty for a stranger.
        transcript: the last turns, oldest first.
        summary: of everything so far, or None.
        notes: the last notes, oldest first.
        names_anonymous: whether an older version kept it, which gave anonymous users a name.
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
    """A turn that was found for a question, with what was noted in it.

    Args:
        entry: the turn.
        notes: what was noted in it.
        relevance: to compare within one result only; above 0.
    """

    entry: TranscriptEntry
    notes: tuple[Note, ...]
    relevance: float
