"""Messages as turns: one user message, or several in a row, and the reply to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

from turnwise.replay.conversation import Conversation, Persona, RecordedTurn
from turnwise.replay.record import SourceRecord

__all__ = ["Utterance", "pair_conversation"]


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
