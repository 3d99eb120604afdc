"""Messages as turns: one user message, or several in a row, and the reply to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TypeVar

from turnwise.replay.conversation import Conversation, Persona, RecordedTurn
from turnwise.replay.record import Problems, SourceRecord

__all__ = ["Utterance", "in_order_of_time", "numbered_in_order", "pair_conversation"]

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
        is_user: whether the user wrote it, not the agent.
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
    messages: Sequence[SourceRecord], problems: Problems
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


def in_order_of_time(utterances: list[_Timed], problems: Problems) -> list[_Timed]:
    """Return messages in order of time where they are listed with the newest first.

    So some services list them. Other orders are left as they are: of messages in the same
    second, and of edited ones, the file knows more than their times; what is out of order is
    noted.
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

    Several messages in a row by one side are one, joined by line ends. What the agent
    says before the first user message becomes the opening; what it says first in a later
    session is left out, since no turn asked for it. An agent that acts without words
    answers the turn, with no reply.

    Raises:
        FormatError: when the user never says anything.
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
