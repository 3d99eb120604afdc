"""What is understood of conversation files, counted without keeping the conversations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from callwise.calls.errors import FormatError
from callwise.calls.payload import well_formed
from callwise.recordings.conversation import Conversation
from callwise.recordings.conversation_files import ConversationReader, ReadOptions, nothing_read
from callwise.recordings.source_files import find_files

__all__ = ["Survey", "survey_conversations", "survey_json", "survey_text"]

_SHOWN_CHARACTERS = 200
_SHOWN_WORDS = 12


@dataclass(frozen=True, slots=True)
class Survey:
    """What is understood of files.

    Args:
        formats: conversations in each format.
        conversations: how many there are.
        turns: user turns of all of them.
        replies: turns with a recorded reply.
        times: turns with a time.
        users: conversations that name their user.
        personas: conversations that describe the agent.
        openings: conversations that the agent opens.
        roles: by role, how often each word for a speaker was read as it.
        first: the first conversation, with its first turn only.
        left_out: what good records have that no turn shows, and how often.
        skipped: the first bad records.
        skipped_count: how many there are.
        ignored: files of a folder without conversations.
    """

    formats: Mapping[str, int]
    conversations: int
    turns: int
    replies: int
    times: int
    users: int
    personas: int
    openings: int
    roles: Mapping[str, Mapping[str, int]]
    first: Conversation
    left_out: Mapping[str, int]
    skipped: Sequence[FormatError]
    skipped_count: int
    ignored: Sequence[Path]


class _Counts:
    """The sums over conversations, each of which is forgotten once it is counted."""

    def __init__(self) -> None:
        self.conversations = self.turns = self.replies = self.times = 0
        self.users = self.personas = self.openings = 0
        self.first: Conversation | None = None

    def add(self, conversation: Conversation) -> None:
        self.first = self.first or conversation.first_turns(1)
        self.conversations += 1
        self.turns += len(conversation.turns)
        self.replies += sum(turn.reply is not None for turn in conversation.turns)
        self.times += sum(turn.time is not None for turn in conversation.turns)
        self.users += conversation.user_id is not None
        self.personas += conversation.persona is not None
        self.openings += conversation.opening is not None


def survey_conversations(paths: Sequence[str | Path], options: ReadOptions) -> Survey:
    """Return what is understood of files, folders and patterns.

    Raises:
        FormatError: as `read_conversations` does.
    """
    reader = ConversationReader(options)
    counts = _Counts()
    for file in find_files(paths):
        for conversation in reader.read(file):
            counts.add(conversation)
    if counts.first is None:
        raise nothing_read(paths, reader)
    roles: dict[str, dict[str, int]] = {}
    for (word, role), count in reader.problems.roles.most_common():
        roles.setdefault(role, {})[word] = count
    return Survey(
        formats={name: count for name, count in reader.formats.items() if count},
        conversations=counts.conversations,
        turns=counts.turns,
        replies=counts.replies,
        times=counts.times,
        users=counts.users,
        personas=counts.personas,
        openings=counts.openings,
        roles=roles,
        first=counts.first,
        left_out=dict(reader.problems.notes.most_common()),
        skipped=tuple(reader.problems.skipped),
        skipped_count=reader.problems.skipped_count,
        ignored=tuple(reader.ignored),
    )


def survey_json(survey: Survey) -> dict[str, Any]:
    """Return a survey as one JSON object."""
    return {
        "formats": survey.formats,
        "conversations": survey.conversations,
        "turns": survey.turns,
        "replies": survey.replies,
        "times": survey.times,
        "users": survey.users,
        "personas": survey.personas,
        "openings": survey.openings,
        "roles": survey.roles,
        "first": asdict(survey.first),
        "left_out": survey.left_out,
        "skipped": [str(error) for error in survey.skipped],
        "skipped_count": survey.skipped_count,
        "ignored": [str(path) for path in survey.ignored],
    }


def survey_text(survey: Survey) -> Iterator[str]:
    """Give a survey as lines for a terminal."""
    yield "format         " + ", ".join(f"{name} {n}" for name, n in survey.formats.items())
    yield f"conversations  {survey.conversations}"
    yield (
        f"turns          {survey.turns}, {survey.replies} with a reply, {survey.times} with a time"
    )
    yield (
        f"known          user of {survey.users}, persona of {survey.personas}, opening of "
        f"{survey.openings}"
    )
    for role, words in survey.roles.items():
        yield f"{role:<14} {_listed(words)}"
    first = survey.first
    turn = first.turns[0]
    yield f"first          conversation {_short(first.conversation_id)}, turn {turn.turn}"
    if first.persona:
        yield f"  persona      {_short('; '.join(first.persona.values()))}"
    if turn.time:
        yield f"  time         {turn.time}"
    yield f"  user         {_short(turn.user_text)}"
    yield f"  agent        {_short(turn.reply) if turn.reply is not None else '(no reply)'}"
    if survey.left_out:
        yield f"not in turns   {_listed(survey.left_out)}"
    if survey.ignored:
        names = ", ".join(str(path) for path in survey.ignored[:_SHOWN_WORDS])
        yield f"other files    {len(survey.ignored)}: {names}"


def _listed(counts: Mapping[str, int]) -> str:
    shown = list(counts.items())[:_SHOWN_WORDS]
    more = len(counts) - len(shown)
    listed = ", ".join(f"{_short(word)} {count}" for word, count in shown)
    return f"{listed} and {more} more" if more else listed


def _short(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(well_formed(text[: _SHOWN_CHARACTERS + 1]).split())
    return line if len(text) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"
