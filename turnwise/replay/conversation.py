"""A recorded conversation: who talked with whom, turn by turn, and its digest."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

__all__ = [
    "PERSONA_FIELDS",
    "Conversation",
    "Persona",
    "RecordedTurn",
    "conversation_digest",
]


Persona = Mapping[str, str]
"""Who somebody is, in free text: any of the fields of `PERSONA_FIELDS`, none blank.

Untrusted: it may say anything.
"""

PERSONA_FIELDS = ("name", "background", "speaking_style")
"""`background` is who they are and what they know; a whole system prompt where a
format has nothing finer."""


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One user message and, where it was recorded, the reply to it.

    Args:
        conversation_id: the conversation it belongs to.
        turn: its number in the conversation. Starts at 0 where a format does not
            number; a native file may start later and may leave numbers out.
        user_text: what the user wrote, untouched. Never blank. Untrusted.
        time: when, as ISO 8601 (a date alone where no more is known), or None.
        user_id: who wrote it, or None.
        reply: the recorded reply, or None. Never blank.
        persona: the agent's persona where this turn states it; otherwise None,
            and the conversation's holds.
    """

    conversation_id: str
    turn: int
    user_text: str
    time: str | None = None
    user_id: str | None = None
    reply: str | None = None
    persona: Persona | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A whole conversation of one user with one agent.

    Args:
        conversation_id: unique among all that are read together. Untrusted; not a path.
        user_id: whose memory it belongs to, or None.
        persona: the agent's, as first stated; None when nothing states it.
        turns: in order of their numbers; at least one.
        user_persona: the user's, where a format has it. The agent must not be told.
        opening: what the agent said before the first user message, or None. It is
            history, not a turn: nobody asked for it.
    """

    conversation_id: str
    user_id: str | None
    persona: Persona | None
    turns: tuple[RecordedTurn, ...]
    user_persona: Persona | None = None
    opening: str | None = None

    def first_turns(self, limit: int) -> "Conversation":
        """Return this conversation with its first `limit` turns only; at least 1."""
        return replace(self, turns=self.turns[:limit])


def conversation_digest(conversations: Iterable[Conversation]) -> str:
    """Return what identifies these conversations in a run's manifest.

    It depends on what was read and on the order, not on where it was read from: the
    same conversation in two formats has the same digest when every field is equal.

    Returns:
        64 lower-case hexadecimal digits (SHA-256).
    """
    digest = hashlib.sha256()
    for conversation in conversations:
        # The json module, because it also writes lone surrogates, which are legal here.
        line = json.dumps(asdict(conversation), sort_keys=True, separators=(",", ":"))
        digest.update(line.encode("ascii"))
        digest.update(b"\n")
    return digest.hexdigest()
