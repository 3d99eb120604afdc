"""Group chats read from conversation files: several speakers, none of them the agent.

The files, their kinds and the names of fields are those of conversations. What differs: every
speaker keeps a name, nothing is paired to turns, and a time may be that of a clock without a date.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from callwise.calls.errors import FormatError
from callwise.calls.payload import well_formed
from callwise.recordings.formats import vocabulary
from callwise.recordings.formats.message_list import find_list, messages_of, unwrap
from callwise.recordings.formats.message_parts import read_content
from callwise.recordings.formats.speakers import role_word
from callwise.recordings.source_files import find_files, read_records
from callwise.recordings.source_lines import ReadLimits
from callwise.recordings.source_records import RecordProblems, SourceRecord, iso_time

__all__ = ["GroupChat", "GroupLine", "read_group_chat"]

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One message of a group chat.

    Args:
        author: the speaker's name. Never blank. Untrusted.
        text: never blank. Untrusted.
        seconds: time from the first line that has one, never before that of an earlier line;
            None where it has none.
    """

    author: str
    text: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class GroupChat:
    """The lines of a file, in its order.

    Args:
        lines: at least one.
        left_out: what no line has, or has otherwise than the file, and how often.
    """

    lines: tuple[GroupLine, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """The time of the last line that has one; None where none has."""
        return max((each.seconds for each in self.lines if each.seconds is not None), default=None)


@dataclass(frozen=True, slots=True)
class _Time:
    """A time as a file has it: seconds since 1970, or since midnight where it has no date."""

    seconds: float
    is_dated: bool


def read_group_chat(path: str | Path, *, limits: ReadLimits | None = None) -> GroupChat:
    """Return the group chat in a file.

    Each line has the speaker of the first field of `NAME_KEYS` that names one. Lines without a
    speaker, such as notices of a server, and lines without a text are left out and counted. A
    chat that is listed with the newest first is turned round; otherwise the order of the file is
    kept, and a time before that of an earlier line is taken to be that one's. A clock time is one
    of the day of the line before it, or the next day's where it goes back by more than half a day;
    before the first date, of the day of the line after it, or the day before.

    Args:
        path: JSON Lines, a JSON document or a table; maybe packed with gzip.

    Raises:
        FormatError: when it cannot be read, is empty, a record is no message, or no line has a
            speaker and a text.
    """
    problems = RecordProblems(skip_bad=False)
    left_out: Counter[str] = Counter()
    lines: list[GroupLine] = []
    times: list[_Time | None] = []
    for file in find_files([path]):
        for record in read_records(file, problems, limits):
            for message in _messages(record):
                line = _line(message, left_out)
                if line is not None:
                    lines.append(line)
                    times.append(_time(message.fields, left_out))
    if not lines:
        counts = ", ".join(f"{count} x {what}" for what, count in left_out.items()) or "no message"
        raise FormatError(path, None, f"expected lines with a speaker and a text; found {counts}")
    if _is_newest_first([each for each in times if each is not None]):
        left_out["line put in order of time"] += len(lines)
        lines.reverse()
        times.reverse()
    placed = zip(lines, _seconds(times, left_out), strict=True)
    return GroupChat(
        tuple(GroupLine(line.author, line.text, seconds) for line, seconds in placed),
        dict(left_out),
    )


def _messages(record: SourceRecord) -> Iterator[SourceRecord]:
    spot = find_list(record.document)
    if spot is None:
        yield record.inside(unwrap(record.fields), "")
        return
    place = record.inside({spot.key or "messages": spot.items}, spot.outer)
    items = [each.document for each in place.items(spot.key or "messages", "message")]
    yield from messages_of(record, items)


def _line(message: SourceRecord, left_out: Counter[str]) -> GroupLine | None:
    """Return the line of a message; None where it has no speaker or no text, which is counted."""
    names = (role_word(message.fields, key) for key in vocabulary.NAME_KEYS)
    author = next((name for name in names if name is not None), None)
    text = read_content(message).text
    if author is None:
        left_out["line without a speaker"] += 1
        return None
    if text is None:
        left_out["line without a text"] += 1
        return None
    return GroupLine(well_formed(author), well_formed(text))


def _time(fields: Mapping[str, Any], left_out: Counter[str]) -> _Time | None:
    stated = [value for key in vocabulary.TIME_KEYS if (value := fields.get(key)) not in (None, "")]
    for value in stated:
        text = iso_time(value)
        if text is not None:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return _Time(moment.timestamp(), is_dated=True)
        clock = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
        if clock is not None:
            hours, minutes, seconds = (int(each or 0) for each in clock.groups())
            return _Time(3600.0 * hours + 60.0 * minutes + seconds, is_dated=False)
    if stated:
        left_out["time that could not be read"] += 1
    return None


def _is_newest_first(times: Sequence[_Time]) -> bool:
    """Return whether dated times never grow, and are not all equal."""
    steps = [later.seconds - earlier.seconds for earlier, later in pairwise(times)]
    is_dated = all(each.is_dated for each in times)
    return is_dated and any(steps) and all(step <= 0 for step in steps)


def _begun_with_a_date(times: Sequence[_Time | None]) -> list[_Time | None]:
    """Return times with dates for those before the first date; all as they are where none has."""
    dated = (place for place, each in enumerate(times) if each is not None and each.is_dated)
    first = next(dated, 0)
    found = [*times]
    later = found[first]
    for place in range(first - 1, -1, -1):
        time = times[place]
        if time is None or later is None:
            continue
        at = time.seconds + later.seconds - later.seconds % _DAY_SECONDS
        if at > later.seconds + _DAY_SECONDS / 2:
            at -= _DAY_SECONDS
        later = found[place] = _Time(at, is_dated=True)
    return found


def _seconds(times: Sequence[_Time | None], left_out: Counter[str]) -> Iterator[float | None]:
    """Yield each time as seconds from the first one."""
    first: float | None = None
    last = 0.0
    for time in _begun_with_a_date(times):
        if time is None:
            yield None
            continue
        at = time.seconds
        if first is not None and not time.is_dated:
            at += last - last % _DAY_SECONDS
            if at < last - _DAY_SECONDS / 2:
                at += _DAY_SECONDS
        if first is None:
            first = last = at
        if at < last:
            left_out["time before that of an earlier line"] += 1
        last = max(last, at)
        yield last - first
