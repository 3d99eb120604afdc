"""A sweep read back from its SQLite file, without locking or changing it."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import orjson

from callwise.calls.errors import CallwiseError, ConfigError, FormatError
from callwise.recordings.run_folder import DiskFull
from callwise.tuning.row import EARLIER_NAMES, FIELDS, TurnRow, row_from_figures
from callwise.tuning.setting import Setting, value_text

__all__ = [
    "FIRST_MANIFEST",
    "STORE",
    "SWEEP_VERSION",
    "ReplyText",
    "SweepRecord",
    "SweepRows",
    "clear_errors",
    "connected",
    "load_sweep",
    "manifest_of",
    "path_of",
    "refuse_first_format",
    "stored_settings",
]

STORE = "sweep.sqlite"
SWEEP_VERSION = 2

FIRST_MANIFEST = "sweep.json"
"""The manifest of format 1, which kept a sweep in four files."""

_WAIT_SECONDS = 30.0
"""Time that a write waits for another process to finish its transaction."""


@dataclass(frozen=True, slots=True)
class ReplyText:
    """One reply.

    Args:
        conversation: of the first row that has it.
    """

    reply_id: str
    conversation: str
    turn: int
    text: str


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _clear_error(path, error) from error


def _clear_error(path: Path, error: sqlite3.Error) -> CallwiseError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return DiskFull(
            f"the disk is full, so {path} cannot be written; finished settings are stored. "
            "Free some space and run the same command again to continue"
        )
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return ConfigError(f"{path} is being written by another process; wait for it to end")
    # A file that may be written is refused as well where its header is damaged.
    is_header_damaged = primary == sqlite3.SQLITE_READONLY and all(
        os.access(each, os.W_OK) for each in (path, path.parent)
    )
    refusals = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}
    if primary in refusals and not is_header_damaged:
        return ConfigError(f"cannot read or write {path}: {error}; check the disk and its rights")
    return FormatError(
        path,
        None,
        f"expected the SQLite file of a sweep: {error}. "
        "Restore it from a copy, or run `callwise tune` again with --fresh, which keeps scores.csv",
    )


def connected(path: Path) -> sqlite3.Connection:
    """Return a connection to a file that exists.

    A transaction that a killed process left is rolled back by the next reader; that takes the
    right to write, which SQLite does without where it is not given.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", timeout=_WAIT_SECONDS, uri=True
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with clear_errors(path):
        connection = connected(path)
        try:
            yield connection
        finally:
            connection.close()


def manifest_of(path: Path, connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the manifest.

    Raises:
        FormatError: when it is none, or of another version.
    """
    try:
        found = connection.execute("SELECT name, value FROM manifest")
        manifest = {str(name): json.loads(value) for name, value in found}
        version, identity = manifest.get("callwise_sweep"), manifest["identity"]
        fields = manifest["row_fields"]
        if isinstance(fields, list):
            fields = [EARLIER_NAMES.get(name, name) for name in fields]
    except (ValueError, TypeError, KeyError, sqlite3.OperationalError) as error:
        raise FormatError(path, None, "expected a sweep: it has no manifest") from error
    if version != SWEEP_VERSION or fields != list(FIELDS) or not isinstance(identity, dict):
        other = f"format {version}" if version != SWEEP_VERSION else "rows with other fields"
        raise FormatError(
            path,
            None,
            f"is of {other}, which this version does not read (it reads format {SWEEP_VERSION}); "
            "run its `callwise tune` command again with --fresh",
        )
    return manifest


def stored_settings(
    path: Path, connection: sqlite3.Connection
) -> tuple[dict[str, Setting], dict[str, str]]:
    """Return the settings that could run, and why the others could not, both by name."""
    settings: dict[str, Setting] = {}
    errors: dict[str, str] = {}
    found = connection.execute("SELECT name, preset, knobs, error FROM setting ORDER BY place, id")
    for name, preset, knobs, error in found:
        try:
            setting = Setting(name, preset, dict(json.loads(knobs)))
        except (ValueError, TypeError) as problem:
            raise FormatError(path, None, f"the knobs of {name!r} are not JSON") from problem
        if error is None:
            settings[name] = setting
        else:
            errors[name] = error
    return settings, errors


@dataclass(frozen=True, slots=True)
class SweepRows:
    """The rows of a sweep, read from disk each time they are iterated.

    Args:
        settings: names of settings, in order; those that are not stored are left out.
    """

    path: Path
    settings: tuple[str, ...]

    def __iter__(self) -> Iterator[TurnRow]:
        """Yield the rows, setting by setting.

        Raises:
            FormatError: for a row that cannot be read; with its setting and place.
        """
        with _reading(self.path) as connection:
            for name in self.settings:
                found = connection.execute(
                    "SELECT row.place, figures FROM row JOIN setting ON setting.id = row.setting "
                    "WHERE name = ? ORDER BY row.place",
                    (name,),
                )
                # All rows of a setting together, so that no lock is kept between two rows.
                for place, figures in found.fetchall():
                    try:
                        yield row_from_figures(orjson.loads(figures))
                    except ValueError as error:
                        where = f"row {place} of setting {name!r}"
                        raise FormatError(self.path, None, f"{where}: {error}") from error

    def __len__(self) -> int:
        """Return how many rows there are."""
        query = (
            "SELECT name, count(*) FROM row JOIN setting ON setting.id = row.setting GROUP BY name"
        )
        with _reading(self.path) as connection:
            counts = dict(connection.execute(query).fetchall())
        return sum(counts.get(name, 0) for name in self.settings)


_PLACE = ("reply_id", "conversation", "turn")


def path_of(field: str) -> str:
    """Return where a field of `TurnRow` is in a stored row, as SQLite's JSON path."""
    return f"$[{list(FIELDS).index(field)}]"


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A sweep on disk, read without locking or changing it: for reports and notebooks."""

    folder: Path
    manifest: Mapping[str, Any]
    settings: tuple[Setting, ...]
    errors: Mapping[str, str]

    @property
    def rows(self) -> SweepRows:
        """The rows of the settings, in order."""
        return SweepRows(self.folder / STORE, tuple(each.name for each in self.settings))

    def texts(self) -> dict[str, str]:
        """Return the distinct replies by id. They are untrusted."""
        with _reading(self.folder / STORE) as connection:
            return dict(connection.execute("SELECT reply_id, text FROM reply").fetchall())

    def replies(self) -> Iterator[ReplyText]:
        """Yield the distinct replies, in the order of the rows."""
        texts = self.texts()
        figures = ", ".join(f"json_extract(figures, '{path_of(name)}')" for name in _PLACE)
        with _reading(self.folder / STORE) as connection:
            places = connection.execute(
                f"SELECT {figures} FROM row JOIN setting ON setting.id = row.setting "  # noqa: S608
                "ORDER BY setting.place, row.place"
            ).fetchall()
        for reply_id, conversation, turn in places:
            text = texts.pop(reply_id, None)
            if text is not None:
                yield ReplyText(reply_id, conversation, turn, text)


def load_sweep(folder: Path) -> SweepRecord:
    """Return a sweep, finished or not: a setting that was not finished is left out.

    Raises:
        ConfigError: when the folder is not a sweep, or one of format 1.
        FormatError: when its file cannot be read.
    """
    refuse_first_format(folder)
    path = folder / STORE
    if not path.is_file():
        raise ConfigError(f"{folder} is not a sweep: it has no {STORE}; `callwise tune` makes one")
    with _reading(path) as connection:
        manifest = manifest_of(path, connection)
        settings, errors = stored_settings(path, connection)
    return SweepRecord(folder, manifest, tuple(settings.values()), errors)


def refuse_first_format(folder: Path) -> None:
    """Raise for a sweep of format 1, with the command that makes it again."""
    path = folder / FIRST_MANIFEST
    if not path.is_file() or (folder / STORE).exists():
        return
    try:
        manifest = orjson.loads(path.read_bytes())
        recorded = manifest["recording_folder"]
        options = _options_of_first_format(manifest)
    except (ValueError, LookupError, TypeError, AttributeError):
        recorded, options = None, ["--grid", "SWEEP"]
    recording = None if recorded is None else _run_of_first_format(folder, str(recorded))
    shown = "RECORDING" if recording is None else str(recording)
    command = ["callwise", "tune", shown, *options, "--out", str(folder), "--fresh"]
    more = [f"RECORDING is the run's folder; {recorded or 'its name'} is not found from here"]
    more = [] if recording is not None else more
    more += ["SWEEP is the sweep's file"] if "SWEEP" in options else []
    raise ConfigError(
        f"{folder} is a sweep of format 1, which is not read any more. Make it again: "
        f"`{' '.join(map(quote, command))}`{''.join(f' ({each})' for each in more)}. "
        "scores.csv and referee.jsonl are kept and taken over"
    )


def _options_of_first_format(manifest: Mapping[str, Any]) -> list[str]:
    """Return the options of `callwise tune` that make a sweep of format 1 again."""
    spec, identity = manifest["spec"], manifest["identity"]
    if spec.keys() == {"knobs"}:
        options = [
            part
            for knob, values in spec["knobs"].items()
            for part in (
                "--knob",
                f"{knob}={','.join(value_text([each])[1:-1] for each in values)}",
            )
        ]
    else:
        options = ["--grid", "SWEEP"]
    if identity.get("past") == "own":
        options += ["--past", "own"]
    if identity.get("max_turns") is not None:
        options += ["--max-turns", str(identity["max_turns"])]
    return options


def _run_of_first_format(folder: Path, recorded: str) -> Path | None:
    """Return the recording's folder as seen from here, or None where it is not found.

    Its path was kept as it was given, so it may begin in the folder where the sweep was made,
    which is as a rule above the sweep's own.
    """
    above = (Path(os.path.relpath(each)) for each in folder.resolve().parents)
    places = (place / recorded for place in (Path(), *above))
    return next((place for place in places if (place / "manifest.json").is_file()), None)
