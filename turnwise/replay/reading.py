"""Reading conversations from files, folders and patterns, whatever their format."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.replay.conversation import Conversation
from turnwise.replay.formats import FORMATS, Found, detect_format
from turnwise.replay.record import Problems, SourceRecord
from turnwise.replay.source import SourceFile, find_files, read_records

__all__ = ["ReadResult", "first_turns", "read_conversations"]


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What was read.

    Args:
        conversations: in order of files, and within a file in order of first lines.
        skipped: the bad records that were left out; empty unless that was asked for.
        format: name of the format; several joined by `+` when files differ.
        ignored: files of a folder that hold no conversations at all, such as notes
            or labels beside them. A file that is named outright is never ignored.
    """

    conversations: tuple[Conversation, ...]
    skipped: tuple[FormatError, ...]
    format: str
    ignored: tuple[Path, ...] = ()


class _Reading:
    """One reading of several files."""

    def __init__(self, *, skip_bad: bool) -> None:
        self.problems = Problems(skip_bad=skip_bad)
        self.found: dict[str, Found] = {}
        self.formats: dict[str, None] = {}
        self.ignored: list[Path] = []

    def read(self, file: SourceFile) -> None:
        """Read one file, and keep what it holds."""
        records = read_records(file, self.problems)
        first = next(records, None)
        while first is not None and file.was_named and not isinstance(first.document, dict):
            self.problems.meet(_unknown_format(first))
            first = next(records, None)
        if first is None:
            return
        known = detect_format(first)
        if known is None:
            self._meet_unknown(file, first)
            return
        self.formats.setdefault(known.name)
        for found in known.read(file, chain([first], records), self.problems):
            self._keep(found)

    def _meet_unknown(self, file: SourceFile, first: SourceRecord) -> None:
        if not file.was_named:
            self.ignored.append(file.path)
            return
        self.problems.meet(_unknown_format(first))

    def _keep(self, found: Found) -> None:
        conversation_id = found.conversation.conversation_id
        other = self.found.setdefault(conversation_id, found)
        if other is not found:
            where = f"{other.record.path}:{other.record.line or 1}"
            self.problems.meet(
                found.record.problem(
                    f"expected conversation {conversation_id!r} once; it stands in {where} too"
                )
            )


def _unknown_format(record: SourceRecord) -> FormatError:
    document = record.document
    if isinstance(document, dict):
        seen = f"an object with keys {', '.join(map(str, list(document)[:12])) or 'none'}"
    else:
        seen = f"no object: {str(document)[:40]!r}"
    known = "; ".join(f"{each.name} {each.shape}" for each in FORMATS)
    return record.problem(f"expected a known conversation format, got {seen}. Known are: {known}")


def first_turns(conversations: Iterable[Conversation], limit: int) -> Iterator[Conversation]:
    """Give conversations until `limit` turns are reached, counted over all of them."""
    for conversation in conversations:
        if limit <= 0:
            return
        yield conversation.first_turns(limit)
        limit -= len(conversation.turns)


def read_conversations(
    paths: Sequence[str | Path], *, skip_bad: bool = False, limit_turns: int | None = None
) -> ReadResult:
    """Return the conversations in files, folders and glob patterns.

    Each file's format is told from its first record, so that files of several formats
    may be read together.

    Args:
        paths: files, folders (read to the bottom) and glob patterns.
        skip_bad: set bad records aside and go on, instead of stopping at the first.
        limit_turns: at most this many turns in all, counted in order; at least 1.

    Raises:
        FormatError: for the first bad record (file, line, what was expected), for an
            unknown format (names the known), and when nothing is left to read.
        ConfigError: when `limit_turns` is below 1.
    """
    if limit_turns is not None and limit_turns < 1:
        raise ConfigError(f"limit_turns is at least 1, got {limit_turns}")
    reading = _Reading(skip_bad=skip_bad)
    for file in find_files(paths):
        reading.read(file)
    conversations = [found.conversation for found in reading.found.values()]
    if not conversations:
        raise _nothing_read(paths, reading)
    if limit_turns is not None:
        conversations = list(first_turns(conversations, limit_turns))
    return ReadResult(
        conversations=tuple(conversations),
        skipped=tuple(reading.problems.skipped),
        format="+".join(reading.formats),
        ignored=tuple(reading.ignored),
    )


def _nothing_read(paths: Sequence[str | Path], reading: _Reading) -> FormatError:
    where = ", ".join(map(str, paths)) or "no path"
    skipped = reading.problems.skipped
    if skipped:
        return FormatError(
            where, None, f"no conversation is left: {len(skipped)} bad, the first: {skipped[0]}"
        )
    names = ", ".join(path.name for path in reading.ignored[:5]) or "nothing"
    known = ", ".join(each.name for each in FORMATS)
    return FormatError(
        where, None, f"holds no conversation in a known format ({known}); found {names}"
    )
