"""A run on disk: what was asked for, every finished turn, and every call they made.

    manifest.json    which app, knobs and conversations this run is of
    turns.jsonl      one finished turn a line; the line is the turn's commit mark
    ledger.jsonl     one call a line
    cassette.jsonl   the recording, unless the run plays or records another file
    memory.sqlite    what the agent remembers (the app's own)
    endpoints.json   what endpoints have refused (the app's own), once one has

A turn's ledger rows are written before its line, so whatever ends the process, a
turn either stands here whole or not at all; rows without a turn are dropped when the
run goes on. When a run ends, both files are put in conversation order: same input,
same bytes, at any concurrency.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import orjson

from turnwise.calls.errors import ConfigError, FormatError, TurnwiseError
from turnwise.replay.app import TurnResult
from turnwise.replay.held_folder import LOCK, hold_folder

__all__ = ["RUN_VERSION", "DiskFull", "RunFolder", "TurnKey"]

RUN_VERSION = 1

TurnKey = tuple[str, int]
"""Conversation id and turn number."""

_FILES = ("turns.jsonl", "ledger.jsonl", "cassette.jsonl", "memory.sqlite", "endpoints.json")


class DiskFull(TurnwiseError):
    """A write found no room. What was finished before stands."""


def _turn_key(row: Mapping[str, Any]) -> TurnKey:
    return str(row["conversation_id"]), int(row["turn"])


def _row_key(row: Mapping[str, Any]) -> TurnKey:
    return str(row["conversation"]), int(row["turn"])


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return a file's rows and where its last whole line ends; drops a torn last line."""
    if not path.exists():
        return [], 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise FormatError(path, number, f"expected one JSON object a line: {error}") from error
    return rows, whole


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


class RunFolder:
    """One run's folder, held by one process at a time.

    Args:
        path: the folder; made when absent.
        identity: what must be equal for a run to go on: app, preset, knobs, digests.
        details: further facts for the manifest that may differ.

    Raises:
        ConfigError: when the folder holds another run, or something else, or another
            process is writing it.
        FormatError: when its files cannot be read.
    """

    def __init__(
        self, path: Path, *, identity: Mapping[str, Any], details: Mapping[str, Any]
    ) -> None:
        self.path = path
        self._identity = dict(identity)
        self._details = dict(details)
        self._lock = hold_folder(path)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        """Read what stands there, and open both files behind their last finished turn."""
        path = self.path
        self.was_resumed = self._check_manifest()
        self.turns, turns_end = _read_lines(path / "turns.jsonl")
        finished = {_turn_key(row) for row in self.turns}
        rows, _ = _read_lines(path / "ledger.jsonl")
        self.rows = [row for row in rows if _row_key(row) in finished]
        self.finished = finished
        if self.rows or rows:
            self._replace("ledger.jsonl", _lines(self.rows))
        if turns_end:
            os.truncate(path / "turns.jsonl", turns_end)
        # Unbuffered: what was not written is not written later, behind an error's back.
        self._turn_file = (path / "turns.jsonl").open("ab", buffering=0)
        self._row_file = (path / "ledger.jsonl").open("ab", buffering=0)

    def _check_manifest(self) -> bool:
        manifest_path = self.path / "manifest.json"
        if not manifest_path.exists():
            strangers = sorted(item.name for item in self.path.iterdir() if item.name != LOCK)
            if strangers:
                raise ConfigError(
                    f"{self.path} exists and is not a run (it holds {strangers[0]!r} and no "
                    "manifest.json); choose another folder with --out"
                )
            self._write_manifest()
            return False
        try:
            manifest = orjson.loads(manifest_path.read_bytes())
            version, identity = manifest["turnwise_run"], manifest["identity"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise FormatError(manifest_path, None, "expected a run manifest") from error
        if version != RUN_VERSION:
            raise FormatError(
                manifest_path, None, f"is of format {version}, this Turnwise reads {RUN_VERSION}"
            )
        differing = [
            f"{name} was {identity.get(name)!r} and is now {value!r}"
            for name, value in self._identity.items()
            if identity.get(name) != value
        ]
        if differing:
            raise ConfigError(
                f"{self.path} holds another run: {'; '.join(differing)}. "
                "Choose another folder with --out, or start over with --fresh"
            )
        return True

    def _write_manifest(self) -> None:
        manifest = {"turnwise_run": RUN_VERSION, "identity": self._identity, **self._details}
        self._replace("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))

    def _replace(self, name: str, data: bytes) -> None:
        partial = self.path / f"{name}.part"
        partial.write_bytes(data)
        partial.replace(self.path / name)

    def add(self, result: TurnResult) -> None:
        """Write a finished turn: its calls first, then its line.

        Raises:
            DiskFull: when there is no room; the turn is then not finished.
        """
        try:
            _write_all(self._row_file, _lines(result.rows))
            _write_all(self._turn_file, _lines([result.record]))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFull(
                    f"no room left to write {self.path}; {len(self.finished)} finished turns "
                    "stand there. Make room and run the same command again to go on"
                ) from error
            raise
        self.turns.append(dict(result.record))
        self.rows.extend(dict(row) for row in result.rows)
        self.finished.add(_turn_key(result.record))

    def finish(self, order: Sequence[TurnKey]) -> None:
        """Put both files in the order of the conversations, and number the calls from 1.

        A file that is so already, as after a run without overlap, is left alone.
        """
        place = {key: index for index, key in enumerate(order)}
        last = len(place)
        turns = sorted(self.turns, key=lambda row: place.get(_turn_key(row), last))
        rows = sorted(self.rows, key=lambda row: place.get(_row_key(row), last))
        is_numbered = all(row.get("sequence") == number for number, row in enumerate(rows, start=1))
        if not is_numbered:
            rows = [{**row, "sequence": number} for number, row in enumerate(rows, start=1)]
        # Equal lists of the same objects are told without looking into the objects.
        if turns != self.turns:
            self.turns = turns
            self._replace("turns.jsonl", _lines(turns))
        if rows != self.rows:
            self.rows = rows
            self._replace("ledger.jsonl", _lines(rows))

    def close(self) -> None:
        """Let go of the files. Safe to call twice."""
        for file in (self._turn_file, self._row_file, self._lock):
            file.close()

    @classmethod
    def clear(cls, path: Path) -> None:
        """Delete a run's own files, and the folder when nothing else is in it.

        Raises:
            ConfigError: when the folder is not a run.
        """
        if not path.exists():
            return
        if not path.is_dir():
            raise ConfigError(f"{path} is not a folder; nothing was deleted")
        if any(path.iterdir()) and not (path / "manifest.json").exists():
            raise ConfigError(f"{path} is not a run; nothing was deleted")
        for name in (*_FILES, "manifest.json", LOCK, "checkpoints.sqlite"):
            for item in path.glob(f"{name}*"):
                item.unlink()
        if not any(path.iterdir()):
            shutil.rmtree(path)
