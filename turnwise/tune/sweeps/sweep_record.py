"""A sweep as it stands on disk, read without holding or changing it: for reports and notebooks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.tune.sweeps.reply_file import ReplyText, read_replies
from turnwise.tune.sweeps.row_journal import JournalRows, scan
from turnwise.tune.sweeps.setting import Setting

__all__ = ["SWEEP_VERSION", "SweepRecord", "load_sweep", "read_manifest"]

SWEEP_VERSION = 1

MANIFEST = "sweep.json"
ROWS, REPLIES = "rows.jsonl", "replies.jsonl"


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A sweep on disk.

    Args:
        folder: where it is.
        manifest: `sweep.json`: the identity, and what the sweep was described with.
        settings: those that could run, in the order of the file.
        errors: why the others could not, by name.
        rows: of the settings, in order; read from disk each time they are gone through.
    """

    folder: Path
    manifest: Mapping[str, Any]
    settings: tuple[Setting, ...]
    errors: Mapping[str, str]
    rows: JournalRows

    def replies(self) -> Iterator[ReplyText]:
        """Yield the distinct replies, in the order of the rows. Their texts are untrusted."""
        return read_replies(self.folder / REPLIES)


def load_sweep(folder: Path) -> SweepRecord:
    """Return a sweep, finished or not: a setting that was not finished is left out.

    Raises:
        ConfigError: when the folder is not a sweep.
        FormatError: when its files cannot be read; with the line.
    """
    if not (folder / MANIFEST).is_file():
        raise ConfigError(
            f"{folder} is not a sweep: it has no {MANIFEST}; `turnwise tune` makes one"
        )
    manifest = read_manifest(folder / MANIFEST)
    found = scan(folder / ROWS, lambda _committed, _replies: True).settings.values()
    return SweepRecord(
        folder=folder,
        manifest=manifest,
        settings=tuple(each.setting for each in found if each.error is None),
        errors={each.setting.name: each.error for each in found if each.error is not None},
        rows=JournalRows(folder / ROWS, tuple(each for each in found if each.error is None)),
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a sweep's manifest.

    Raises:
        FormatError: when it is none, or of another version.
    """
    try:
        manifest = orjson.loads(path.read_bytes())
        version, identity = manifest["turnwise_sweep"], manifest["identity"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise FormatError(path, None, "expected a sweep manifest") from error
    if version != SWEEP_VERSION:
        raise FormatError(
            path, None, f"is of format {version}, this Turnwise reads {SWEEP_VERSION}"
        )
    if not isinstance(identity, dict) or not isinstance(manifest, dict):
        raise FormatError(path, None, "expected a sweep manifest")
    return manifest
