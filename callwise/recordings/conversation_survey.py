"""Sums over the conversations of files, as `callwise conversations` shows them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
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


@dataclass(slots=True)
class Survey:
    """Sums over the conversations of files, each of which is forgotten once it is counted.

    Args:
        replies: turns with a recorded reply.
        times: turns with a time.
        users: conversations that name their user.
        personas: conversations that describe the agent.
        openings: conversations that the agent opens.
        roles: by role, how often each word for a speaker was read as it.
        first: the first conversation, with its first turn only.
        left_out: content of good records that no turn shows, and how often.
        skipped: the first bad records.
        ignored: files of a folder without conversations.
    """

    formats: Mapping[str, int] = field(default_factory=dict)
    conversations: int = 0
    turns: int = 0
    replies: int = 0
    times: int = 0
    users: int = 0
    personas: int = 0
    openings: int = 0
    roles: dict[str, dict[str, int]] = field(default_factory=dict)
    first: Conversation | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    skipped: Sequence[FormatError] = ()
    skipped_count: int = 0
    ignored: Sequence[Path] = ()

    def add(self, conversation: Conversation) -> None:
        """Count a conversation."""
        self.first = self.first or conversation.first_turns(1)
        self.conversations += 1
        self.turns += len(conversation.turns)
        self.replies += sum(turn.reply is not None for turn in conversation.turns)
        self.times += sum(turn.time is not None for turn in conversation.turns)
        self.users += conversation.user_id is not None
        self.personas += conversation.persona is not None
        self.openings += conversation.opening is not None


def survey_conversations(paths: Sequence[str | Path], options: ReadOptions) -> Survey:
    """Return the sums over files, folders and patterns.

    Raises:
        FormatError: as `read_conversations` does.
    """
    reader, survey = ConversationReader(options), Survey()
    for conversation in reader.read_all(find_files(paths)):
        survey.add(conversation)
    if survey.first is None:
        raise nothing_read(paths, reader)
    problems = reader.problems
    survey.formats = {name: count for name, count in reader.formats.items() if count}
    for (word, role), count in problems.roles.most_common():
        survey.roles.setdefault(role, {})[word] = count
    survey.left_out = dict(problems.notes.most_common())
    survey.skipped, survey.skipped_count = problems.skipped, problems.skipped_count
    survey.ignored = reader.ignored
    return survey


def survey_json(survey: Survey) -> dict[str, Any]:
    """Return a survey as one JSON object."""
    return {
        **{each.name: getattr(survey, each.name) for each in fields(survey)},
        "first": survey.first and asdict(survey.first),
        "skipped": [str(error) for error in survey.skipped],
        "ignored": [str(path) for path in survey.ignored],
    }


def survey_text(survey: Survey) -> Iterator[str]:
    """Yield a survey as lines for a terminal."""
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
    if survey.first is not None:
        yield from _first_text(survey.first)
    if survey.left_out:
        yield f"not in turns   {_listed(survey.left_out)}"
    if survey.ignored:
        names = ", ".join(str(path) for path in survey.ignored[:_SHOWN_WORDS])
        yield f"other files    {len(survey.ignored)}: {names}"


def _first_text(first: Conversation) -> Iterator[str]:
    turn = first.turns[0]
    yield f"first          conversation {_short(first.conversation_id)}, turn {turn.turn}"
    if first.persona:
        yield f"  persona      {_short('; '.join(first.persona.values()))}"
    if turn.time:
        yield f"  time         {turn.time}"
    yield f"  user         {_short(turn.user_text)}"
    yield f"  agent        {_short(turn.reply) if turn.reply is not None else '(no reply)'}"


def _listed(counts: Mapping[str, int]) -> str:
    shown = list(counts.items())[:_SHOWN_WORDS]
    more = len(counts) - len(shown)
    listed = ", ".join(f"{_short(word)} {count}" for word, count in shown)
    return f"{listed} and {more} more" if more else listed


def _short(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(well_formed(text[: _SHOWN_CHARACTERS + 1]).split())
    return line if len(text) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"
