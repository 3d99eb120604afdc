"""A sweep on disk: what was asked for, and every row of every finished setting.

    sweep.json       which recording and which sweep this is
    rows.jsonl       the journal: a setting's rows, then the line that commits them
    replies.jsonl    the text of each distinct reply
    study.jsonl      what an adaptive sampler was told (optuna's own journal)

Written by one process, whatever the number of workers. Replies are written before the rows
that name them, so whatever ends the process, a setting either stands here whole or is
evaluated again. At the end both files are put in the order of the settings: same input, same
bytes, at any number of workers. `scores.csv` and tables of rows may lie beside them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from turnwise.calls.errors import ConfigError
from turnwise.replay.held_files import LOCK, hold_folder, refuse_links
from turnwise.tune.sweeps.appended_file import AppendedFile
from turnwise.tune.sweeps.evaluating import SettingResult
from turnwise.tune.sweeps.reply_file import ReplyFile
from turnwise.tune.sweeps.row_journal import (
    CommittedSetting,
    JournalRows,
    commit_line,
    row_lines,
    scan,
)
from turnwise.tune.sweeps.setting import Setting
from turnwise.tune.sweeps.sweep_record import MANIFEST, REPLIES, ROWS, SWEEP_VERSION, read_manifest

__all__ = ["STUDY_FILE", "SweepFolder"]

STUDY_FILE = "study.jsonl"

_FILES = (MANIFEST, ROWS, REPLIES, STUDY_FILE, "rows.csv", "rows.parquet", "summary.json", LOCK)
FIGURES = "figures"
_PAID_FOR = frozenset({"scores.csv", ".scores.csv.lock", "referee.jsonl"})
"""What a referee or people have judged outlives the sweep it was judged for."""


class SweepFolder:
    """One sweep's folder, held by one process at a time.

    Args:
        path: the folder; made when absent.
        identity: what must be equal for a sweep to go on: digests of the recording and of
            the sweep, the mode past a missing call.
        details: further facts for the manifest, which may differ.

    Raises:
        ConfigError: when the folder holds another sweep, or something else, or another
            process is writing it.
        FormatError: when its files cannot be read; with the line.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: Mapping[str, Any],
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.notes: list[str] = []
        """What was found half-written and is evaluated again, in words."""
        self._manifest = {
            "turnwise_sweep": SWEEP_VERSION,
            "identity": dict(identity),
            **(details or {}),
        }
        self._lock = hold_folder(path)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        self.was_resumed = self._check_manifest()
        self.replies = ReplyFile(self.path / REPLIES)
        try:
            found = scan(self.path / ROWS, self._has_replies)
        except BaseException:
            self.replies.close()
            raise
        self._settings = found.settings
        self._rows = AppendedFile(self.path / ROWS, found.end_byte)
        if found.dropped_bytes:
            self.notes.append(
                f"{self.path / ROWS} ended in a setting that was not finished "
                f"({found.dropped_bytes} bytes); it was dropped and is evaluated again"
            )

    def _has_replies(self, committed: CommittedSetting, reply_ids: set[str]) -> bool:
        is_whole = len(reply_ids & self.replies.known) >= committed.reply_count
        if not is_whole:
            self.notes.append(
                f"{self.path / REPLIES} lacks replies of setting {committed.setting.name!r}; "
                "it is evaluated again"
            )
        return is_whole

    def _check_manifest(self) -> bool:
        manifest_path = self.path / MANIFEST
        if not manifest_path.exists():
            kept = {LOCK, f"{MANIFEST}.part", *_PAID_FOR}
            strangers = sorted({item.name for item in self.path.iterdir()} - kept)
            if strangers:
                raise ConfigError(
                    f"{self.path} exists and is not a sweep (it holds {strangers[0]!r} and no "
                    f"{MANIFEST}); choose another folder with --out"
                )
            self._write_manifest()
            return False
        manifest = read_manifest(manifest_path)
        differing = [
            f"{name} was {manifest['identity'].get(name)!r} and is now {value!r}"
            for name, value in self._manifest["identity"].items()
            if manifest["identity"].get(name) != value
        ]
        if differing:
            raise ConfigError(
                f"{self.path} holds another sweep: {'; '.join(differing)}. "
                "Choose another folder with --out, or start over with --fresh"
            )
        self._manifest = manifest | self._manifest
        return True

    def _write_manifest(self) -> None:
        partial = self.path / f"{MANIFEST}.part"
        partial.write_bytes(orjson.dumps(self._manifest, option=orjson.OPT_INDENT_2))
        partial.replace(self.path / MANIFEST)

    def describe(self, details: Mapping[str, Any]) -> None:
        """Write further facts into the manifest. None of them decides whether it goes on."""
        kept = {name: self._manifest[name] for name in ("turnwise_sweep", "identity")}
        self._manifest = {**self._manifest, **details, **kept}
        self._write_manifest()

    @property
    def finished(self) -> frozenset[str]:
        """Names of the settings whose rows stand here. Those that could not run do not count."""
        return frozenset(name for name, each in self._settings.items() if each.error is None)

    @property
    def errors(self) -> dict[str, str]:
        """Why settings could not run, by name. They are tried again when the sweep goes on."""
        return {name: each.error for name, each in self._settings.items() if each.error is not None}

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Settings that stand here, in the order of the file."""
        return tuple(each.setting for each in self._settings.values())

    def add(self, setting: Setting, result: SettingResult) -> None:
        """Write a finished setting: reply texts first, then rows and commit in one write.

        Raises:
            DiskFull: when there is no room; the setting is then not finished.
            ValueError: when rows do not fit the setting; nothing is written.
        """
        lines = row_lines(setting, result)
        reply_count = self.replies.add(result.rows, result.replies)
        start = self._rows.end_byte
        self._rows.append(lines + commit_line(setting, result, reply_count=reply_count))
        self._settings.pop(setting.name, None)
        self._settings[setting.name] = CommittedSetting(
            setting, start, self._rows.end_byte, len(result.rows), reply_count, result.error
        )

    def rows(self, settings: Iterable[str] | None = None) -> JournalRows:
        """Return rows that are read from disk as they are gone through.

        Args:
            settings: names, in the order wanted; those that do not stand here are left out.
                None takes all.
        """
        names = self._settings if settings is None else settings
        wanted = tuple(self._settings[name] for name in names if name in self._settings)
        return JournalRows(self.path / ROWS, wanted)

    def finish(self, order: Sequence[str]) -> None:
        """Put rows and replies in the order of the settings.

        Args:
            order: names of settings. Others that stand here follow, by name.
        """
        others = sorted(self._settings.keys() - set(order))
        names = [name for name in dict.fromkeys([*order, *others]) if name in self._settings]
        self._reorder(names)
        self.replies.finish(self.rows())

    def _reorder(self, names: Sequence[str]) -> None:
        partial = self.path / f"{ROWS}.part"
        moved: dict[str, CommittedSetting] = {}
        with (self.path / ROWS).open("rb") as old, partial.open("wb") as new:
            for name in names:
                block = self._settings[name]
                start = new.tell()
                old.seek(block.start_byte)
                new.write(old.read(block.end_byte - block.start_byte))
                moved[name] = replace(block, start_byte=start, end_byte=new.tell())
        self._rows.replace_by(partial)
        self._settings = moved

    def close(self) -> None:
        """Let go of the files. Safe to call twice."""
        self.replies.close()
        self._rows.close()
        self._lock.close()

    def __enter__(self) -> Self:
        """Return the folder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the files."""
        self.close()

    @classmethod
    def clear(cls, path: Path) -> None:
        """Delete a sweep's own files, and the folder when nothing else is in it.

        What was judged (`scores.csv`) stays: it was paid for, and it knows its replies.

        Raises:
            ConfigError: when the folder is not a sweep, or has links in it.
        """
        if not path.exists():
            return
        if not path.is_dir():
            raise ConfigError(f"{path} is not a folder; nothing was deleted")
        if any(path.iterdir()) and not (path / MANIFEST).exists():
            raise ConfigError(f"{path} is not a sweep; nothing was deleted")
        refuse_links(path)
        for name in _FILES:
            (path / name).unlink(missing_ok=True)
            (path / f"{name}.part").unlink(missing_ok=True)
        for figure in (path / FIGURES).glob("*.svg"):
            figure.unlink()
        if (path / FIGURES).is_dir() and not any((path / FIGURES).iterdir()):
            (path / FIGURES).rmdir()
        if not any(path.iterdir()):
            path.rmdir()
