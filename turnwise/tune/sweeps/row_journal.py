"""`rows.jsonl`: the rows of each finished setting, and behind them the line that commits them.

    {"setting": "search.max_calls=6", "conversation": "talk", "turn": 0, "asked": 8, ...}
    {"setting": "search.max_calls=6", "conversation": "talk", "turn": 1, "asked": 8, ...}
    {"committed": "search.max_calls=6", "rows": 2, "replies": 2, "error": null, ...}

A setting is one write, so it stands whole or not at all: what a killed process left behind
the last commit is cut off when the file is opened again. Only where each setting stands is
kept in memory, never the rows: a sweep of 100 settings on 600 turns has 60,000 of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from turnwise.calls.errors import FormatError
from turnwise.tune.row import TurnRow
from turnwise.tune.sweeps.evaluating import SettingResult
from turnwise.tune.sweeps.row_json import row_as_json, row_from_json
from turnwise.tune.sweeps.setting import Setting

__all__ = [
    "CommittedSetting",
    "JournalRows",
    "JournalScan",
    "commit_line",
    "ordered_rows",
    "row_lines",
    "scan",
]


@dataclass(frozen=True, slots=True)
class CommittedSetting:
    """One setting that stands in a journal.

    Args:
        setting: what it is.
        start_byte: where its first line begins.
        end_byte: where its commit line ends.
        row_count: its rows.
        reply_count: distinct replies of its rows whose texts were kept.
        error: why it could not run; None where it could.
    """

    setting: Setting
    start_byte: int
    end_byte: int
    row_count: int
    reply_count: int
    error: str | None


@dataclass(frozen=True, slots=True)
class JournalScan:
    """What stands in a journal.

    Args:
        settings: by name; of one that was committed twice the later.
        end_byte: where the last commit ends.
        dropped_bytes: behind it, of a setting that was not finished.
    """

    settings: dict[str, CommittedSetting]
    end_byte: int
    dropped_bytes: int


def ordered_rows(rows: Sequence[TurnRow]) -> list[TurnRow]:
    """Return rows by conversation, in order of first appearance, and by turn."""
    place: dict[str, int] = {}
    for row in rows:
        place.setdefault(row.conversation, len(place))
    return sorted(rows, key=lambda row: (place[row.conversation], row.turn))


def row_lines(setting: Setting, result: SettingResult) -> bytes:
    """Return a setting's rows as lines.

    Raises:
        ValueError: when a row is of another setting, stands twice, or holds a figure that is
            not finite.
    """
    rows = ordered_rows(result.rows)
    strangers = {row.setting for row in rows} - {setting.name}
    if strangers:
        raise ValueError(f"got rows of {min(strangers)!r} for the setting {setting.name!r}")
    if len({(row.conversation, row.turn) for row in rows}) < len(rows):
        raise ValueError(f"setting {setting.name!r} has two rows of one turn")
    return b"".join(map(_line, map(row_as_json, rows)))


def commit_line(setting: Setting, result: SettingResult, *, reply_count: int) -> bytes:
    """Return the line that says that a setting's rows, the lines before it, are all there."""
    return _line(
        {
            "committed": setting.name,
            "rows": len(result.rows),
            "replies": reply_count,
            "error": result.error,
            "preset": setting.preset,
            "knobs": dict(setting.knobs),
        }
    )


def _line(plain: Mapping[str, Any]) -> bytes:
    return orjson.dumps(plain, option=orjson.OPT_APPEND_NEWLINE)


def scan(path: Path, is_whole: Callable[[CommittedSetting, set[str]], bool]) -> JournalScan:
    """Return what stands in a journal. Reads every line once, and keeps none.

    Args:
        path: the journal; one that does not exist is empty.
        is_whole: told a setting and the ids of its replies; a setting for which it returns
            false is taken as not finished.

    Raises:
        FormatError: for a line that ends and cannot be read; with its number.
    """
    settings: dict[str, CommittedSetting] = {}
    end = position = pending = 0
    replies: set[str] = set()
    named: set[str] = set()
    if not path.exists():
        return JournalScan(settings, 0, 0)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            if not line.endswith(b"\n"):
                break
            try:
                plain = _object(line)
                if "committed" not in plain:
                    row = row_from_json(plain)
                    replies.add(row.reply_id)
                    named.add(row.setting)
                    pending += 1
                    continue
                found = replace(_committed(plain, pending), start_byte=end, end_byte=position)
                _require_own_rows(found.setting, named)
            except ValueError as error:
                raise FormatError(path, number, f"expected a row or a commit: {error}") from error
            settings.pop(found.setting.name, None)
            if is_whole(found, replies):
                settings[found.setting.name] = found
            end, pending, replies, named = position, 0, set(), set()
    return JournalScan(settings, end, path.stat().st_size - end)


def _require_own_rows(setting: Setting, named: set[str]) -> None:
    strangers = named - {setting.name}
    if strangers:
        raise ValueError(f"{setting.name!r} has rows of {min(strangers)!r} before it")


def _object(line: bytes) -> dict[str, Any]:
    plain = orjson.loads(line)
    if not isinstance(plain, dict):
        raise ValueError("expected one JSON object a line")  # noqa: TRY004 - told with its line
    return plain


def _committed(plain: dict[str, Any], row_count: int) -> CommittedSetting:
    try:
        setting = Setting(
            name=str(plain["committed"]),
            preset=str(plain["preset"]),
            knobs=dict(plain["knobs"]),
        )
        said, reply_count, error = plain["rows"], int(plain["replies"]), plain["error"]
    except (KeyError, TypeError) as problem:
        raise ValueError(f"a commit without {problem}") from problem
    if said != row_count:
        raise ValueError(f"{setting.name!r} says {said} rows, and {row_count} stand before it")
    return CommittedSetting(setting, 0, 0, row_count, reply_count, error)


@dataclass(frozen=True, slots=True)
class JournalRows:
    """The rows of a sweep, read from disk each time they are gone through.

    Args:
        path: the journal.
        settings: those meant, in order.
    """

    path: Path
    settings: tuple[CommittedSetting, ...]

    def __iter__(self) -> Iterator[TurnRow]:
        """Yield the rows, setting by setting."""
        with self.path.open("rb") as file:
            for committed in self.settings:
                yield from _read_block(file, committed)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return sum(committed.row_count for committed in self.settings)


def _read_block(file: BinaryIO, committed: CommittedSetting) -> Iterator[TurnRow]:
    """Yield a setting's rows out of an open journal."""
    file.seek(committed.start_byte)
    for _ in range(committed.row_count):
        yield row_from_json(orjson.loads(file.readline()))
