"""Messages as turns: one user message, or several in a row, and the reply to it."""

from collections.abc import Sequence
from dataclasses import dataclass
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
        text: what was written. Never blank.
        time: when, as ISO 8601, or None.
    """

    is_user: bool
    text: str
    time: str | None = None


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
    says before the first user message becomes the opening.

    Raises:
        FormatError: when the user never says anything.
    """
    opening: str | None = None
    turns: list[RecordedTurn] = []
    for is_user, group in groupby(utterances, key=attrgetter("is_user")):
        said = list(group)
        text = "\n".join(utterance.text for utterance in said)
        if is_user:
            turns.append(RecordedTurn(conversation_id, len(turns), text, said[0].time, user_id))
        elif turns:
            asked = turns[-1]
            turns[-1] = RecordedTurn(
                conversation_id, asked.turn, asked.user_text, asked.time, user_id, text
            )
        else:
            opening = text
    if not turns:
        raise record.problem("expected at least one message of the user, there is none")
    return Conversation(conversation_id, user_id, persona, tuple(turns), opening=opening)
