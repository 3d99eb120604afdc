"""A recorded conversation, turn by turn, and how messages are paired to turns.

A turn is one user message, or several in a row, and the reply to it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TypeVar

from callwise.recordings.source_records import RecordProblems, SourceRecord

__all__ = [
    "PERSONA_FIELDS",
    "Conversation",
    "Persona",
    "RecordedTurn",
    "Utterance",
    "conversation_digest",
    "in_order_of_time",
    "numbered_in_order",
    "pair_conversation",
]

Persona = Mapping[str, str]
"""Description of a speaker, in free text: any of the fields of `PERSONA_FIELDS`, none blank.

Untrusted: it may say anything.
"""

PERSONA_FIELDS = ("name", "background", "speaking_style")
"""`background` is who they are and what they know; a whole system prompt where a
format has nothing finer."""


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One user message and, where it was recorded, the reply to it.

    Args:
        turn: its number in the conversation. Starts at 0 where a format does not
            number; a native file may start later and may leave numbers out.
        user_text: what the user wrote, untouched. Never blank. Untrusted.
        time: when, as ISO 8601 (a date alone where no more is known), or None.
        reply: the recorded reply, or None. Never blank.
        persona: the agent's persona where this turn states it; otherwise None,
            and the conversation's is used.
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
        user_persona: the user's, where a format has it. It is kept from the agent.
        opening: what the agent said before the first user message, or None. It is
            history, not a turn: no user asked for it.
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


_NUMBERS = (
    "index",
    "idx",
    "message_index",
    "messageIndex",
    "turn_index",
    "turn_idx",
    "utterance_idx",
    "utterance_index",
    "seq",
    "sequence",
    "position",
    "order",
)
"""Fields that number the messages of a conversation."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One message of a conversation.

    Args:
        text: what was written. Blank where the agent acted without words.
        time: when, as ISO 8601, or None.
        session: which of several meetings it belongs to; a reply never answers a message
            of another one.
    """

    is_user: bool
    text: str
    time: str | None = None
    session: int = 0


_Timed = TypeVar("_Timed", Utterance, RecordedTurn)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def numbered_in_order(
    messages: Sequence[SourceRecord], problems: RecordProblems
) -> Sequence[SourceRecord]:
    """Return messages in the order of their numbers, where each has another one."""
    for key in _NUMBERS:
        numbers = [_number(message.fields.get(key)) for message in messages]
        known = [number for number in numbers if number is not None]
        if len(known) == len(messages) == len({*known}):
            if known != sorted(known):
                problems.notes["message put in order of numbers"] += len(known)
            places = sorted(range(len(known)), key=known.__getitem__)
            return [messages[place] for place in places]
    return messages


def in_order_of_time(utterances: list[_Timed], problems: RecordProblems) -> list[_Timed]:
    """Return messages in order of time where they are listed with the newest first.

    So some services list them. Other orders are left as they are: of messages in the same
    second, and of edited ones, the file's order is worth more than their times; what is out of
    order is noted.
    """
    moments = _moments(utterances)
    if len(moments) < 2 or len(moments) < len(utterances):
        return utterances
    older = sum(later < earlier for earlier, later in pairwise(moments))
    if older and all(later <= earlier for earlier, later in pairwise(moments)):
        problems.notes["message put in order of time"] += len(moments)
        return utterances[::-1]
    if older:
        problems.notes["message that is older than the one before it"] += older
    return utterances


def _moments(utterances: Sequence[Utterance | RecordedTurn]) -> list[datetime]:
    """Return the times of messages that can be compared; fewer where some cannot."""
    try:
        moments = [datetime.fromisoformat(each.time) for each in utterances if each.time]
    except ValueError:
        return []
    return moments if len({moment.tzinfo is None for moment in moments}) == 1 else []


def pair_conversation(
    record: SourceRecord,
    conversation_id: str,
    utterances: Sequence[Utterance],
    *,
    user_id: str | None = None,
    persona: Persona | None = None,
) -> Conversation:
    """Return a conversation whose turns are numbered from 0.

    Several messages in a row by one side are one, joined by line ends. The agent's
    words before the first user message become the opening; its first words in a later
    session are left out, since no turn asked for it. An agent that acts without words
    answers the turn, with no reply.

    Raises:
        FormatError: when there is no user message.
    """
    opening: str | None = None
    turns: list[RecordedTurn] = []
    answering: int | None = None
    for (session, is_user), group in groupby(utterances, key=attrgetter("session", "is_user")):
        said = list(group)
        text = "\n".join(utterance.text for utterance in said if utterance.text.strip())
        if is_user:
            turns.append(RecordedTurn(conversation_id, len(turns), text, said[0].time, user_id))
            answering = session
        elif turns and answering == session and text:
            turns[-1] = replace(turns[-1], reply=text)
        elif not turns and text:
            opening = text if opening is None else f"{opening}\n{text}"
    if not turns:
        raise record.problem("expected at least one message of the user, there is none")
    return Conversation(conversation_id, user_id, persona, tuple(turns), opening=opening)
