"""A run on disk: what was asked for, every finished turn, and every call they made.

    manifest.json    app, knobs and conversations of this run
    turns.jsonl      one finished turn per line; the line is the turn's commit mark
    ledger.jsonl     one call per line
    cassette.jsonl   the recording, unless the run plays or records another file
    memory.sqlite    the agent's memory (the app's own)
    endpoints.json   what endpoints have refused (the app's own), once one has
    status.json      the state of the run for `callwise top`, where `metrics.status` is on
    feedback.jsonl   feedback of people on it, once there is some; it outlives `--fresh`

Files are made such that only their owner may read them: they contain what people said.
A turn's ledger rows are written before its line, so whatever ends the process, a
turn is here whole or not at all; rows without a turn are dropped when the
run goes on. When a run ends, both files are put in conversation order: same input,
same bytes, at any concurrency.
"""

import errno
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from callwise.budget.metrics.status import STATUS_FILE
from callwise.calls.errors import CallwiseError, ConfigError, FormatError
from callwise.recordings.app_protocol import TurnResult
from callwise.recordings.held_files import (
    LOCK,
    hold_folder,
    private_opener,
    replace_file,
)
from callwise.recordings.typed_json import under_this_name

__all__ = [
    "FEEDBACK_FILE",
    "RUN_VERSION",
    "DiskFull",
    "RunFolder",
    "RunFolderGone",
    "TurnKey",
    "no_folder",
    "read_manifest",
    "read_rows",
]

RUN_VERSION = 1

TurnKey = tuple[str, int]
"""Conversation id and turn number."""

BATCHES_FILE = "batches.sqlite"
"""Queue of the calls that were bought by a provider's batch interface. What is in it was paid
for, so it is kept where a run is made again."""

FEEDBACK_FILE = "feedback.jsonl"
"""Feedback of people on the run, which is kept where the run is made again."""

_FILES = (
    *("turns.jsonl", "ledger.jsonl", "cassette.jsonl", "memory.sqlite", "endpoints.json"),
    STATUS_FILE,
)


_MAX_RUNS = 1000
"""Runs next to a folder that is not there, among which the nearest name is sought."""


class DiskFull(CallwiseError):
    """The disk is full. What was finished before is kept."""


class RunFolderGone(CallwiseError):
    """The folder was deleted or replaced while the run was writing it."""


def _turn_key(row: Mapping[str, Any]) -> TurnKey:
    return str(row["conversation_id"]), int(row["turn"])


def _row_key(row: Mapping[str, Any]) -> TurnKey | None:
    """Return the turn of a call; None for one outside of turns."""
    if row["conversation"] is None and row["turn"] is None:
        return None
    return str(row["conversation"]), int(row["turn"])


_KEY_OF_FILE: Mapping[str, Callable[[Mapping[str, Any]], TurnKey | None]] = {
    "turns.jsonl": _turn_key,
    "ledger.jsonl": _row_key,
}


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return a file's rows and where its last whole line ends; drops a torn last line.

    Raises:
        FormatError: when it cannot be read, or a line is no row that names its turn.
    """
    key_of = _KEY_OF_FILE[path.name]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise FormatError(path, None, f"cannot be read: {error.strerror or error}") from error
    whole = data.rfind(b"\n") + 1
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise FormatError(path, number, f"expected one JSON object a line: {error}") from error
        try:
            key_of(row)
        except (KeyError, TypeError, ValueError):
            raise FormatError(
                path, number, "expected a row of a run, with its conversation and its turn"
            ) from None
        rows.append(row)
    return rows, whole


def no_folder(folder: Path) -> FormatError:
    """Return the error of a run's folder that is not there, or is a file, with the way out."""
    if folder.exists():
        file = shlex.quote(str(folder))
        return FormatError(
            folder, None, f"is a file, not a run; record it first: callwise replay {file} --out run"
        )
    try:
        found = list(islice(folder.parent.glob("*/manifest.json"), _MAX_RUNS))
    except OSError:
        found = []
    nearest = get_close_matches(folder.name, sorted(path.parent.name for path in found), n=1)
    hint = f"; did you mean {folder.with_name(nearest[0])}?" if nearest else ""
    return FormatError(folder, None, f"there is no such folder; expected the folder of a run{hint}")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a run's manifest, with its `identity`.

    Raises:
        FormatError: when it is none of this version.
    """
    try:
        manifest = under_this_name(orjson.loads(path.read_bytes()))
        version, identity = manifest["callwise_run"], manifest["identity"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise FormatError(path, None, "expected a run's manifest") from error
    if version != RUN_VERSION:
        raise FormatError(path, None, f"is of format {version}, this Callwise reads {RUN_VERSION}")
    if not isinstance(identity, dict):
        raise FormatError(path, None, "expected a run's manifest")
    return dict(manifest)


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping from dotted names."""
    if not isinstance(value, Mapping):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat.update(_flat(inner, f"{name}.{key}" if name else str(key)))
    return flat


_MAX_KNOBS = 5
"""Most changed knobs that an error names after the preset."""


def _knob_changes(before: Any, now: Any) -> list[str]:
    """Return which knobs differ between two runs, as phrases, the preset first.

    Of many, some and how many more there are. Empty when none is known to differ.
    """
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return []  # an older Callwise did not write them

    def shown(knobs: Mapping[str, Any], name: str) -> str:
        return f"{knobs[name]!r:.80}" if name in knobs else "not set"

    old, new = _flat(before), _flat(now)
    names = [
        name
        for name in dict.fromkeys((*old, *new))
        if (name in old, old.get(name)) != (name in new, new.get(name))
    ]
    names.sort(key=lambda name: name != "preset")
    most = _MAX_KNOBS + ("preset" in names)
    changes = [
        f"the {'preset' if name == 'preset' else f'knob {name}'} was {shown(old, name)} and is now "
        f"{shown(new, name)}"
        for name in names[:most]
    ]
    return [*changes, *([f"and {len(names) - most:,} more knobs"] if len(names) > most else [])]


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _opened(path: Path) -> FileIO:
    return open(path, "ab", buffering=0, opener=private_opener)


class RunFolder:
    """One run's folder, locked by one process at a time.

    Args:
        path: the folder; made when absent.
        identity: what must be equal for a run to go on: app, preset, knobs, digests.
        details: further facts for the manifest that may differ.

    Raises:
        ConfigError: when the folder has another run, or something else, or another
            process is writing it.
        FormatError: when its files cannot be read.
    """

    def __init__(
        self, path: Path, *, identity: Mapping[str, Any], details: Mapping[str, Any]
    ) -> None:
        self.path = path
        self._identity = dict(identity)
        self._details = dict(details)
        self._app_files: list[str] | None = None
        self._lock = hold_folder(path)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        """Read what is there, and open both files behind their last finished turn."""
        path = self.path
        self.was_resumed = self._check_manifest()
        turns, turns_end = read_rows(path / "turns.jsonl")
        self.finished = {_turn_key(row) for row in turns}
        rows, _ = read_rows(path / "ledger.jsonl")
        if rows:
            kept = [row for row in rows if _row_key(row) in {None, *self.finished}]
            replace_file(self.path / "ledger.jsonl", _lines(kept))
        if turns_end:
            os.truncate(path / "turns.jsonl", turns_end)
        # Unbuffered: what was not written is not written later, behind an error's back.
        self._turn_file = _opened(path / "turns.jsonl")
        self._row_file = _opened(path / "ledger.jsonl")

    def start_over(self) -> None:
        """Delete the finished turns and their memory, as `clear` does; the lock is kept."""
        self._turn_file.close()
        self._row_file.close()
        for name in {*_FILES, "checkpoints.sqlite"} - {"cassette.jsonl"}:
            for item in self.path.glob(f"{name}*"):
                item.unlink()
        self._app_files = None
        self._write_manifest()
        self._open()

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The finished turns, read from the folder: a long run keeps none in memory."""
        return read_rows(self.path / "turns.jsonl")[0]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The ledger rows of the finished turns, read from the folder."""
        return read_rows(self.path / "ledger.jsonl")[0]

    def _check_manifest(self) -> bool:
        manifest_path = self.path / "manifest.json"
        if not manifest_path.exists():
            names = {item.name for item in self.path.iterdir()}
            others = sorted(names - {LOCK, FEEDBACK_FILE})
            if others:
                raise ConfigError(
                    f"{self.path} exists and is not a run (it contains {others[0]!r} and no "
                    "manifest.json); choose another folder (--out; in Python out=)"
                )
            self._write_manifest()
            return False
        manifest = read_manifest(manifest_path)
        self._app_files = manifest.get("app_files")
        differing = self._differences(manifest["identity"], manifest.get("knobs"))
        if differing:
            raise ConfigError(
                f"{self.path} is another run: {'; '.join(differing)}. "
                "Choose another folder (--out; in Python out=), or start over with --fresh"
            )
        return True

    def _differences(self, identity: Mapping[str, Any], knobs: Any) -> list[str]:
        """Return how this run differs from that of the folder."""
        found: list[str] = []
        for name, value in self._identity.items():
            if identity.get(name) == value:
                continue
            if name == "settings":
                changes = _knob_changes(knobs, self._details.get("knobs"))
                found += changes or ["its settings were others"]
            elif name == "conversations":
                found.append("its conversations were others, or their texts have changed")
            else:
                found.append(f"{name} was {identity.get(name)!r} and is now {value!r}")
        return found

    def _write_manifest(self) -> None:
        manifest = {"callwise_run": RUN_VERSION, "identity": self._identity, **self._details}
        if self._app_files is not None:
            manifest["app_files"] = self._app_files
        replace_file(
            self.path / "manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
        )

    def add(self, result: TurnResult) -> None:
        """Write a finished turn: its calls first, then its line.

        Raises:
            DiskFull: when the disk is full; the turn is then not finished.
            RunFolderGone: when the folder is no longer there.
        """
        self._check_is_there()
        if self._app_files is None:
            self._app_files = self._files_of_app()
            self._write_manifest()
        try:
            _write_all(self._row_file, _lines([*result.rows, *result.outside]))
            _write_all(self._turn_file, _lines([result.record]))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFull(
                    f"no space left to write {self.path}; {len(self.finished)} finished turns "
                    "are there. Free some space and run the same command again to go on"
                ) from error
            raise
        self.finished.add(_turn_key(result.record))

    def _files_of_app(self) -> list[str]:
        """Return the files that the app keeps here, such as its memory."""
        own = {*_FILES, "manifest.json", BATCHES_FILE, FEEDBACK_FILE, LOCK} - {"memory.sqlite"}
        names = (item.name for item in self.path.iterdir() if item.is_file())
        aside = ("-wal", "-shm", "-journal", ".part", ".bak")
        return sorted(name for name in names if name not in own and not name.endswith(aside))

    def check_app_files(self) -> None:
        """Check that what the app kept for the finished turns is still here.

        Raises:
            ConfigError: when a file is gone or empty: the turns that are left would be
                answered as if the finished ones had never been.
        """
        for name in self._app_files or ():
            file = self.path / str(name)
            if file.name != name or (file.is_file() and file.stat().st_size):
                continue
            raise ConfigError(
                f"{self.path} has {len(self.finished)} finished turns, but {name} is gone, which "
                "has what they left for the turns after them. Put it back, or start over with "
                "--fresh, in Python with another out= (with --record or --cassette, recorded "
                "calls are not paid again)"
            )

    def _check_is_there(self) -> None:
        for file in (self._turn_file, self._row_file):
            path = Path(file.name)
            try:
                is_there = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                is_there = False
            if not is_there:
                raise RunFolderGone(
                    f"{path} was deleted or replaced while the run was writing it, so the run "
                    "cannot be kept. Run the same command again, and leave its folder alone"
                )

    def finish(self, order: Sequence[TurnKey]) -> None:
        """Put both files in the order of the conversations, and number the calls from 1.

        A file that is so already, as after a run without overlap, is left alone.

        Raises:
            RunFolderGone: when the folder is no longer there.
        """
        self._check_is_there()
        place = {key: index for index, key in enumerate(order)}
        last = len(place)
        turns_before, rows_before = self.turns, self.rows
        turns = sorted(turns_before, key=lambda row: place.get(_turn_key(row), last))
        keyed = [(_row_key(row), row) for row in rows_before]
        keyed.sort(key=lambda each: last if each[0] is None else place.get(each[0], last))
        rows = [row for _, row in keyed]
        is_numbered = all(row.get("sequence") == number for number, row in enumerate(rows, start=1))
        if not is_numbered:
            rows = [{**row, "sequence": number} for number, row in enumerate(rows, start=1)]
        # Equal lists of the same objects are compared by identity.
        if turns != turns_before:
            replace_file(self.path / "turns.jsonl", _lines(turns))
        if rows != rows_before:
            replace_file(self.path / "ledger.jsonl", _lines(rows))

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        for file in (self._turn_file, self._row_file, self._lock):
            file.close()

    @classmethod
    def clear(cls, path: Path) -> None:
        """Delete a run's own files, and the folder when nothing else is in it.

        Raises:
            ConfigError: when the folder is not a run, has links in it, or another process is
                writing it.
        """
        if not path.exists():
            return
        if not path.is_dir():
            raise ConfigError(f"{path} is not a folder; nothing was deleted")
        if any(path.iterdir()) and not (path / "manifest.json").exists():
            raise ConfigError(f"{path} is not a run; nothing was deleted")
        with hold_folder(path):
            for name in (*_FILES, "manifest.json", "checkpoints.sqlite"):
                for item in path.glob(f"{name}*"):
                    item.unlink()
        (path / LOCK).unlink(missing_ok=True)
        if not any(path.iterdir()):
            shutil.rmtree(path)
