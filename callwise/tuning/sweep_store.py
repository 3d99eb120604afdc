"""The SQLite file of a sweep: its manifest, settings, rows, replies, scores and trials.

    sweep.sqlite     tables manifest, setting, row, reply, score, trial
    scores.csv       an export of the table score; replies.jsonl, rows.csv and rows.parquet others

One process writes a sweep, whatever the number of workers. A setting with its rows and replies
is one transaction, so whatever ends the process, a setting is stored whole or evaluated again.
At the end settings are put in the order of the sweep: the same input reads back as the same rows
and replies at any number of workers. A row is stored as the array of its fields' values; an
object with names took four times as long to write.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Self

import orjson

from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.payload import well_formed
from callwise.recordings.held_files import LOCK, hold_folder, open_private
from callwise.tuning.judge.scores import Score, read_scores, write_scores
from callwise.tuning.row import FIELDS, TurnRow, row_figures
from callwise.tuning.setting import Setting, SettingResult
from callwise.tuning.sweep_record import (
    FIRST_MANIFEST,
    STORE,
    SWEEP_VERSION,
    SweepRows,
    clear_errors,
    connected,
    load_sweep,
    manifest_of,
    path_of,
    refuse_first_format,
    stored_settings,
)
from callwise.tuning.sweep_spec import ObjectiveValues

__all__ = ["SweepScores", "SweepStore"]

SCORES = "scores.csv"
FIGURES = "figures"

_FIRST_FILES = (FIRST_MANIFEST, "rows.jsonl", "study.jsonl")
REPLIES = "replies.jsonl"

_EXPORTS = (REPLIES, "rows.csv", "rows.parquet", "summary.json", "recommended.yaml")
_PAID_FOR = frozenset({SCORES, ".scores.csv.lock", "referee.jsonl"})
"""Files with the judgements of a referee or of people; they are kept when a sweep is deleted."""

_TABLES = """
CREATE TABLE manifest (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE setting (
    id INTEGER PRIMARY KEY, place INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
    preset TEXT NOT NULL, knobs TEXT NOT NULL, error TEXT
);
CREATE TABLE row (
    setting INTEGER NOT NULL, place INTEGER NOT NULL, figures TEXT NOT NULL,
    PRIMARY KEY (setting, place)
) WITHOUT ROWID;
CREATE TABLE reply (reply_id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE score (key TEXT PRIMARY KEY, figures TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trial (number INTEGER PRIMARY KEY, setting TEXT NOT NULL, told TEXT NOT NULL);
"""


def _checked_rows(setting: Setting, result: SettingResult) -> list[TurnRow]:
    """Return a setting's rows by conversation, in order of first appearance, and by turn."""
    others = {row.setting for row in result.rows} - {setting.name}
    if others:
        raise ValueError(f"got rows of {min(others)!r} for the setting {setting.name!r}")
    if len({(row.conversation, row.turn) for row in result.rows}) < len(result.rows):
        raise ValueError(f"setting {setting.name!r} has two rows of one turn")
    place: dict[str, int] = {}
    for row in result.rows:
        place.setdefault(row.conversation, len(place))
    return sorted(result.rows, key=lambda row: (place[row.conversation], row.turn))


class SweepStore:
    """One sweep's folder, locked and written by one process at a time.

    Args:
        identity: what must be equal for a sweep to continue: digests of the recording and of
            the sweep, the mode past a missing call.
        details: further facts for the manifest, which may differ.

    Raises:
        ConfigError: when the folder has another sweep in it, or something else, or another
            process is writing it.
        FormatError: when its file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: Mapping[str, Any],
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self._file = path / STORE
        self._lock = hold_folder(path)
        with ExitStack() as undo, clear_errors(self._file):
            undo.callback(self._lock.close)
            self._connection = self._opened()
            undo.callback(self._connection.close)
            self._begin(identity, details or {})
            undo.pop_all()

    def _opened(self) -> sqlite3.Connection:
        refuse_first_format(self.path)
        if not self._file.exists():
            others = sorted({item.name for item in self.path.iterdir()} - {LOCK, *_PAID_FOR})
            if others:
                raise ConfigError(
                    f"{self.path} exists and is not a sweep (it has {others[0]!r} and no "
                    f"{STORE}); choose another folder (--out; in Python out=)"
                )
            os.close(open_private(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        return connected(self._file)

    def _begin(self, identity: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self.was_resumed = tables > 0
        if self.was_resumed:
            self.manifest = manifest_of(self._file, self._connection)
            self._refuse_another(identity)
        else:
            self.manifest = {"callwise_sweep": SWEEP_VERSION, "row_fields": list(FIELDS)}
            self._connection.executescript(f"BEGIN; {_TABLES}")
        self._write_manifest({**self.manifest, **details, "identity": dict(identity)})

    def _refuse_another(self, identity: Mapping[str, Any]) -> None:
        stored = self.manifest["identity"]
        differing = [
            f"{name} was {stored.get(name)!r} and is now {value!r}"
            for name, value in identity.items()
            if stored.get(name) != value
        ]
        if differing:
            raise ConfigError(
                f"{self.path} has another sweep in it: {'; '.join(differing)}. "
                "Choose another folder (--out; in Python out=), or start over with --fresh"
            )

    def _write_manifest(self, facts: Mapping[str, Any]) -> None:
        with clear_errors(self._file), self._connection as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO manifest VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )
        self.manifest = dict(facts)

    def describe(self, details: Mapping[str, Any]) -> None:
        """Write further facts into the manifest; they are not part of the identity."""
        kept = ("callwise_sweep", "row_fields", "identity")
        known = {name: self.manifest[name] for name in kept}
        self._write_manifest({**self.manifest, **details, **known})

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The stored settings, in order, without those that could not run."""
        return tuple(self._stored()[0].values())

    @property
    def finished(self) -> frozenset[str]:
        """Names of `settings`."""
        return frozenset(self._stored()[0])

    @property
    def errors(self) -> dict[str, str]:
        """Errors of settings that could not run, by name. A continued sweep tries them again."""
        return self._stored()[1]

    def _stored(self) -> tuple[dict[str, Setting], dict[str, str]]:
        with clear_errors(self._file):
            return stored_settings(self._file, self._connection)

    def add(self, setting: Setting, result: SettingResult) -> None:
        """Store a finished setting, its rows and the replies of its rows, in one transaction.

        Raises:
            DiskFull: when the disk is full; the setting is then not stored.
            ValueError: when rows do not fit the setting; nothing is written.
        """
        rows = _checked_rows(setting, result)
        figures = [orjson.dumps(row_figures(row)).decode() for row in rows]
        texts = {row.reply_id: result.replies.get(row.reply_id) for row in rows}
        knobs = json.dumps(setting.knobs)
        with clear_errors(self._file), self._connection as connection:
            connection.execute(
                "DELETE FROM row WHERE setting = (SELECT id FROM setting WHERE name = ?)",
                (setting.name,),
            )
            connection.execute("DELETE FROM setting WHERE name = ?", (setting.name,))
            added = connection.execute(
                "INSERT INTO setting (place, name, preset, knobs, error) "
                "SELECT coalesce(max(place) + 1, 0), ?, ?, ?, ? FROM setting",
                (setting.name, setting.preset, knobs, result.error),
            )
            connection.executemany(
                "INSERT INTO row VALUES (?, ?, ?)",
                [(added.lastrowid, place, each) for place, each in enumerate(figures)],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO reply VALUES (?, ?)",
                [(name, well_formed(text)) for name, text in texts.items() if text is not None],
            )

    def rows(self, settings: Iterable[str] | None = None) -> SweepRows:
        """Return rows that are read from disk when iterated.

        Args:
            settings: names, in the order wanted; those that are not stored are left out.
                None takes all.
        """
        names = [each.name for each in self.settings] if settings is None else settings
        return SweepRows(self._file, tuple(names))

    @property
    def trials(self) -> list[tuple[str, ObjectiveValues]]:
        """The settings that an adaptive sampler asked for, and their objectives."""
        with clear_errors(self._file):
            found = self._connection.execute("SELECT setting, told FROM trial ORDER BY number")
            return [(name, json.loads(told)) for name, told in found]

    def add_trials(self, trials: Sequence[tuple[str, ObjectiveValues]]) -> None:
        """Store the trials of a whole batch, in one transaction."""
        with clear_errors(self._file), self._connection as connection:
            connection.executemany(
                "INSERT INTO trial (setting, told) VALUES (?, ?)",
                [(name, json.dumps(told)) for name, told in trials],
            )

    def finish(self, order: Sequence[str]) -> None:
        """Put settings in an order, delete replies that no row has, and export the others.

        Args:
            order: names of settings. Others follow, by name.
        """
        settings, errors = self._stored()
        others = sorted((settings.keys() | errors.keys()) - set(order))
        places = {name: place for place, name in enumerate(dict.fromkeys([*order, *others]))}
        with clear_errors(self._file), self._connection as connection:
            connection.executemany(
                "UPDATE setting SET place = ? WHERE name = ?",
                [(place, name) for name, place in places.items()],
            )
            connection.execute(
                "DELETE FROM reply WHERE reply_id NOT IN "
                "(SELECT json_extract(figures, ?) FROM row)",
                (path_of("reply_id"),),
            )
        partial = self.path / f"{REPLIES}.part"
        with partial.open("wb") as file:
            for reply in load_sweep(self.path).replies():
                file.write(orjson.dumps(asdict(reply), option=orjson.OPT_APPEND_NEWLINE))
        partial.replace(self.path / REPLIES)

    def close(self) -> None:
        """Release the folder. Safe to call twice."""
        self._connection.close()
        self._lock.close()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the folder."""
        self.close()

    @classmethod
    def clear(cls, path: Path) -> None:
        """Delete a sweep's own files, of either format, and the folder when that empties it.

        Scores are exported to `scores.csv` first, which is kept: they were paid for.

        Raises:
            ConfigError: when the folder is not a sweep, has links in it, or another process is
                writing it.
        """
        if not path.exists():
            return
        if not path.is_dir():
            raise ConfigError(f"{path} is not a folder; nothing was deleted")
        is_sweep = (path / STORE).exists() or (path / FIRST_MANIFEST).exists()
        if any(path.iterdir()) and not is_sweep:
            raise ConfigError(f"{path} is not a sweep; nothing was deleted")
        with hold_folder(path):
            if (path / STORE).exists():
                _export_scores(path)
            for name in (STORE, f"{STORE}-journal", *_FIRST_FILES, *_EXPORTS):
                (path / name).unlink(missing_ok=True)
                (path / f"{name}.part").unlink(missing_ok=True)
            for figure in (path / FIGURES).glob("*.svg"):
                figure.unlink()
        (path / LOCK).unlink(missing_ok=True)
        if (path / FIGURES).is_dir() and not any((path / FIGURES).iterdir()):
            (path / FIGURES).rmdir()
        if not any(path.iterdir()):
            path.rmdir()


def _export_scores(folder: Path) -> None:
    try:
        with SweepScores(folder):
            pass  # leaving the block exports them
    except FormatError as error:
        # A file that cannot be read has nothing to export, and --fresh is the way out of it.
        if error.path != folder / STORE:
            raise


class SweepScores:
    """The scores of a sweep; use it in a `with` block, which ends by exporting `scores.csv`.

    Scores are stored as they come, so a block that fails keeps them; only the export is left
    out then. A `scores.csv` that is there already, of an older format or changed by hand, is
    taken over first.

    Args:
        folder: the sweep's. This process may have it open as a `SweepStore`.

    Raises:
        FormatError: when its `scores.csv` is no table of scores.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / STORE
        self._export = folder / SCORES
        found = read_scores(self._export) if self._export.exists() else None
        with clear_errors(self._file):
            self._connection = connected(self._file)
        if found is not None:
            self.add(found.scores)

    def add(self, scores: Iterable[Score]) -> None:
        """Store scores; a later one with the same key replaces the earlier.

        Raises:
            DiskFull: when the disk is full; none of them is stored then.
        """
        with clear_errors(self._file), self._connection as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO score VALUES (?, ?)",
                [(json.dumps(score.key), json.dumps(astuple(score))) for score in scores],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Export the table in order, unless the block failed."""
        try:
            if kind is None:
                with clear_errors(self._file), self._connection as connection:
                    connection.execute("BEGIN IMMEDIATE")  # one export at a time
                    found = connection.execute("SELECT figures FROM score").fetchall()
                    scores = [Score(*json.loads(figures)) for (figures,) in found]
                    write_scores(self._export, scores)
        finally:
            self._connection.close()
