"""Messages as turns: one user message, or several in a row, and the reply to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import attrgetter

from turnwise.replay.conversation import Conversation, Persona, RecordedTurn
from turnwise.replay.record import Problems, SourceRecord

__all__ = ["Utterance", "oldest_first", "pair_conversation"]


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


def oldest_first(utterances: list[Utterance], problems: Problems) -> list[Utterance]:
    """Return messages in order of time where they are listed with the newest first.

    So some services list them. Other orders are left as they are: of messages in the same
    second, and of edited ones, the file knows more than their times.
    """
    times = [each.time for each in utterances]
    if len(times) < 2 or any(time is None or len(time) != len(times[0] or "") for time in times):
        return utterances
    stated = [time for time in times if time is not None]
    if all(earlier < later for later, earlier in pairwise(stated)):
        problems.notes["message put in order of time"] += len(stated)
        return utterances[::-1]
    return utterances


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
