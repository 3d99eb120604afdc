"""Reading conversations from files, folders and patterns, or rows in memory, in any format."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.conversation import Conversation, RecordedTurn
from callwise.recordings.formats import (
    FORMATS,
    Collector,
    ConversationFormat,
    DetectedRecord,
    Pending,
    Reading,
    detect_format,
    is_foreign,
    pieces_of,
)
from callwise.recordings.source_files import SourceFile, find_files, read_records, rows_in_memory
from callwise.recordings.source_lines import Progress, ReadLimits
from callwise.recordings.source_records import RecordProblems, SourceRecord, named_type

__all__ = [
    "ConversationReader",
    "ReadOptions",
    "ReadResult",
    "first_turns",
    "nothing_read",
    "read_conversations",
    "read_rows",
]

_SHOWN_KEYS = 24
_MAX_UNKNOWN = 1000
"""A file of a folder whose first so many records are in no known format is left out."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of reading, as a user states them.

    Args:
        skip_bad: set bad records aside and go on, instead of stopping at the first.
        agent: the name of the speaker who is the agent, where roles are not known.
        side: `a` or `b`: which side of a comparison is read.
        columns: columns of tables, or fields of records, by the usual name that they are read
            under, such as `{"messages": "dialog"}`.
        max_conversations: reading ends after so many, at least 1; None reads all.
        limits: how much of a file is read; None takes them from the environment.
        progress: called while a long file is read.

    Raises:
        ConfigError: when `side` is neither, or a limit is no number that it can be.
    """

    skip_bad: bool = False
    agent: str | None = None
    side: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    max_conversations: int | None = None
    limits: ReadLimits | None = None
    progress: Progress | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.side not in {None, "a", "b"}:
            raise ConfigError(f"side is {self.side!r}; give `a` or `b`")
        if self.max_conversations is not None and self.max_conversations < 1:
            raise ConfigError(f"max_conversations is at least 1, got {self.max_conversations}")
        if self.limits is None:
            object.__setattr__(self, "limits", ReadLimits.from_environment(os.environ))


@dataclass(frozen=True, slots=True)
class ReadResult:
    """Result of reading files.

    Args:
        conversations: in order of files, and within a file in order of first lines; those
            that are put together from lines come after those that are whole records.
        skipped: the first bad records that were left out; empty unless that was asked for.
        format: name of the format; several joined by `+` when files differ.
        ignored: files of a folder without conversations, such as notes
            or labels next to them. A file that is named outright is never ignored.
    """

    conversations: tuple[Conversation, ...]
    skipped: tuple[FormatError, ...]
    format: str
    ignored: tuple[Path, ...] = ()
    skipped_count: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


class ConversationReader:
    """One reading of several files, conversation by conversation.

    Attributes:
        formats: how many conversations are in each format, in order of first meeting.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self.problems = RecordProblems(skip_bad=options.skip_bad)
        self.formats: Counter[str] = Counter()
        self.ignored: list[Path] = []
        self._places: dict[str, str] = {}

    def read_all(self, files: Iterable[SourceFile]) -> Iterator[Conversation]:
        """Yield the conversations of files, as many as the options allow.

        Raises:
            FormatError: for the first bad record, unless they are skipped.
        """
        found = (conversation for file in files for conversation in self.read(file))
        return islice(found, self._options.max_conversations)

    def read(self, file: SourceFile) -> Iterator[Conversation]:
        """Yield the conversations of a file; those of whole records as they are met.

        Raises:
            FormatError: for the first bad record, unless they are skipped.
        """
        collectors: dict[str, Collector] = {}
        for known, record in self._known_records(file):
            if known.name not in collectors:
                reading = Reading(file, self.problems, self._options.agent, self._options.side)
                collectors[known.name] = known.open(reading)
                self.formats.setdefault(known.name, 0)
            try:
                pending = collectors[known.name].add(record)
            except FormatError as error:
                self.problems.meet(error)
            else:
                yield from self._made(known.name, pending)
        for name, collector in collectors.items():
            yield from self._made(name, collector.finish())

    def _known_records(self, file: SourceFile) -> Iterator[tuple[ConversationFormat, SourceRecord]]:
        """Yield a file's records with their formats; one that is in none is read as the last."""
        last: ConversationFormat | None = None
        unknown: list[FormatError] = []
        for record in self._renamed_fields(file):
            if last is None and is_foreign(record.document):
                unknown.append(_recorded_calls(record))
                break
            for known, piece in pieces_of(record, was_named=file.was_named):
                read_as = known or last
                if read_as is None:
                    unknown.append(_unknown_format(piece))
                    continue
                last = read_as
                self._meet(unknown)
                yield read_as, piece
            if file.was_named:
                self._meet(unknown)
            elif len(unknown) > _MAX_UNKNOWN:
                break
        if unknown and not file.was_named:
            self.ignored.append(file.path)
        self._meet(unknown if file.was_named else [])

    def _renamed_fields(self, file: SourceFile) -> Iterator[SourceRecord]:
        """Yield a file's records with the columns that a person chose under their usual names."""
        columns, options = self._options.columns, self._options
        unmet, seen = {*columns.values()}, dict[str, None]()
        for record in read_records(file, self.problems, options.limits, options.progress):
            fields = record.document
            if not columns or not isinstance(fields, dict):
                yield record
                continue
            unmet.difference_update(fields)
            seen.update(dict.fromkeys(map(str, fields)) if unmet else {})
            kept = {name: each for name, each in fields.items() if name not in columns.values()}
            chosen = {name: fields[each] for name, each in columns.items() if each in fields}
            yield replace(record, document={**kept, **chosen})
        if unmet and seen and file.was_named:
            raise FormatError(
                file.path,
                None,
                f"expected a column or field {', '.join(map(repr, sorted(unmet)))}, as --column or "
                f"columns= names it; there are {', '.join(seen)}",
            )

    def _meet(self, errors: list[FormatError]) -> None:
        for error in errors:
            self.problems.meet(error)
        errors.clear()

    def _made(self, name: str, pending: Iterable[Pending]) -> Iterator[Conversation]:
        for make in pending:
            try:
                found = make()
            except FormatError as error:
                self.problems.meet(error)
            else:
                yield from self._kept(name, found)

    def _kept(self, name: str, found: DetectedRecord) -> Iterator[Conversation]:
        conversation = found.conversation
        conversation_id = conversation.conversation_id
        here = f"{found.record.path}:{found.record.line or 1}"
        if conversation_id in self._places and found.may_be_renamed:
            conversation = self._renamed(conversation, found.record)
        elif conversation_id in self._places:
            there = self._places[conversation_id]
            self.problems.meet(
                found.record.problem(
                    f"expected conversation {conversation_id!r} once; it is in {there} too"
                )
            )
            return
        self._places[conversation.conversation_id] = here
        self.formats[name] += 1
        yield conversation

    def _renamed(self, conversation: Conversation, record: SourceRecord) -> Conversation:
        """Return a conversation under a new id, since many files number from 0."""
        self.problems.notes["id that was met before, made unique"] += 1
        stem = f"{conversation.conversation_id}@{record.path.name}-{record.number}"
        conversation_id, number = stem, 2
        while conversation_id in self._places:
            conversation_id, number = f"{stem}-{number}", number + 1
        turns: tuple[RecordedTurn, ...] = tuple(
            replace(turn, conversation_id=conversation_id) for turn in conversation.turns
        )
        return replace(conversation, conversation_id=conversation_id, turns=turns)


def _recorded_calls(record: SourceRecord) -> FormatError:
    return record.problem(
        "expected conversations, got a recording of calls; give it with --cassette, and here the "
        "conversations that it was made from"
    )


def _unknown_format(record: SourceRecord) -> FormatError:
    document = record.document
    several = [] if not isinstance(document, dict) else _lists_of_messages(document)
    if len(several) > 1:
        return record.problem(
            f"expected one list of messages, got several: {', '.join(several)}. Leave only the one "
            f"that is meant, or choose it, as `--column messages={several[0]}`; in Python, "
            f"`columns={{'messages': {several[0]!r}}}`"
        )
    if isinstance(document, dict):
        seen = f"an object with keys {', '.join(map(str, list(document)[:_SHOWN_KEYS])) or 'none'}"
    else:
        seen = f"no object: {str(document)[:40]!r}"
        if isinstance(document, list):
            seen = f"a list of {len(document)}, the first item {_described(document)}"
    return record.problem(
        f"expected a known conversation format, got {seen}. Where columns or keys have other names "
        "than usual, choose them: `--column messages=KEY`, or `--column prompt=KEY --column "
        f"response=KEY`; in Python, `columns={{'messages': KEY}}`. Known formats are: {_known()}. "
        "docs/formats.md shows an example of each, and how to convert other files"
    )


def _lists_of_messages(fields: Mapping[str, Any]) -> list[str]:
    """Return the fields of a record that are lists of messages."""
    lists = {str(name): value for name, value in fields.items() if isinstance(value, list)}
    return [name for name, value in lists.items() if detect_format(value) is not None]


def _described(items: Sequence[object]) -> str:
    return named_type(items[0]) if items else "missing"


def _known() -> str:
    return ", ".join(each.name for each in FORMATS)


def first_turns(conversations: Iterable[Conversation], limit: int) -> Iterator[Conversation]:
    """Yield conversations until `limit` turns are reached, counted over all of them."""
    for conversation in conversations:
        if limit <= 0:
            return
        yield conversation.first_turns(limit)
        limit -= len(conversation.turns)


def read_conversations(
    paths: Sequence[str | Path],
    *,
    skip_bad: bool = False,
    limit_turns: int | None = None,
    options: ReadOptions | None = None,
) -> ReadResult:
    """Return the conversations in files, folders and glob patterns.

    The format is recognised record by record, so that files of several formats may be read
    together.

    Args:
        paths: files, folders (read to the bottom) and glob patterns.
        limit_turns: at most this many turns in all, counted in order; at least 1.
        options: what else there is to say about the files; its `skip_bad` counts too.

    Raises:
        FormatError: for the first bad record (file, line, what was expected), for an
            unknown format (names the known), and when nothing is left to read.
        ConfigError: when `limit_turns` is below 1.
    """
    if limit_turns is not None and limit_turns < 1:
        raise ConfigError(f"limit_turns is at least 1, got {limit_turns}")
    options = options or ReadOptions()
    options = replace(options, skip_bad=skip_bad or options.skip_bad)
    return _read(find_files(paths), options, paths, limit_turns)


def read_rows(
    rows: Iterable[Mapping[str, Any]], *, name: str = "rows", options: ReadOptions | None = None
) -> ReadResult:
    """Return the conversations in rows, such as those of a Hugging Face data set or a list.

    A data frame's rows are `frame.to_dict("records")`.

    Args:
        rows: read once; each is a conversation, an exchange or a message, as in a file.
        name: names them in errors, and conversations without an id.

    Raises:
        FormatError: as `read_conversations` does; its line is the number of the row.
    """
    return _read([rows_in_memory(rows, name)], options or ReadOptions(), [name], None)


def _read(
    files: Iterable[SourceFile],
    options: ReadOptions,
    paths: Sequence[str | Path],
    limit_turns: int | None,
) -> ReadResult:
    reader = ConversationReader(options)
    conversations = list(reader.read_all(files))
    if not conversations:
        raise nothing_read(paths, reader)
    if limit_turns is not None:
        conversations = list(first_turns(conversations, limit_turns))
    return ReadResult(
        conversations=tuple(conversations),
        skipped=tuple(reader.problems.skipped),
        format="+".join(name for name, count in reader.formats.items() if count),
        ignored=tuple(reader.ignored),
        skipped_count=reader.problems.skipped_count,
        left_out=dict(reader.problems.notes),
    )


def nothing_read(paths: Sequence[str | Path], reader: ConversationReader) -> FormatError:
    """Return the error for files in which no conversation is left."""
    where = ", ".join(map(str, paths)) or "no path"
    problems = reader.problems
    if problems.skipped_count:
        return FormatError(
            where,
            None,
            f"no conversation is left: {problems.skipped_count} bad, the first: "
            f"{problems.skipped[0]}",
        )
    names = ", ".join(path.name for path in reader.ignored[:5]) or "nothing"
    return FormatError(
        where,
        None,
        f"has no conversation in a known format ({_known()}); found {names}. Files that may be "
        "something else, such as chats of people by name, are read when each is given by its name",
    )
