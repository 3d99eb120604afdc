"""A cassette looked over line by line, and sealed again after a change on purpose."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.replay.cassette_check import is_sealed, require_whole, seal_line
from turnwise.replay.cassette_exchange import (
    check_fields,
    decode_exchange,
    parse_line,
    split_head,
)
from turnwise.replay.cassette_file import CassetteFile
from turnwise.replay.cassette_header import (
    BOM,
    MAX_HEADER_BYTES,
    header_line,
    is_header,
    read_header,
)
from turnwise.replay.cassette_sharing import Sharing, restore, shared_name, whole_prompt
from turnwise.replay.held_files import open_fresh, open_private, try_lock

__all__ = ["CassetteSurvey", "readable_exchanges", "seal_cassette", "survey_cassette"]

MAX_SHOWN = 20
"""Damaged lines that are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class CassetteSurvey:
    """What a cassette contains.

    Args:
        is_sealed: whether its lines have checksums.
        normalise: its normalisers, as its header names them.
        exchanges: how many calls.
        recovered_bytes: length of a broken last line.
        damaged: the errors of lines that cannot be played, the first ones.
        damaged_count: how many there are.
    """

    is_sealed: bool
    normalise: tuple[str, ...]
    exchanges: int
    recovered_bytes: int
    damaged: tuple[str, ...]
    damaged_count: int


def survey_cassette(path: Path) -> CassetteSurvey:
    """Return what a cassette contains, every line read.

    Raises:
        FormatError: when it cannot be opened at all.
    """
    file = CassetteFile.open_reading(path)
    damaged: list[str] = []
    count = 0
    try:
        for entry in range(len(file.index)):
            try:
                document = file.read(entry, is_prompt_whole=True)
                try:
                    decode_exchange(document)
                except ValueError as error:
                    raise file.damaged(entry, str(error)) from error
            except FormatError as error:
                count += 1
                if len(damaged) < MAX_SHOWN:
                    damaged.append(str(error))
        rules = (f"{kind} {text}" for each in file.header.normalise for kind, text in each.items())
        return CassetteSurvey(
            is_sealed=file.header.is_sealed,
            normalise=tuple(rules),
            exchanges=len(file.index),
            recovered_bytes=file.recovered_bytes,
            damaged=tuple(damaged),
            damaged_count=count,
        )
    finally:
        file.close()


def readable_exchanges(path: Path) -> Iterator[dict[str, Any]]:
    """Give the exchanges of a cassette without their prompts, in the file's order.

    Damaged lines are passed over, the broken last line of a recording that was killed too.

    Raises:
        OSError: when the file cannot be read.
    """
    common: dict[str, dict[str, Any]] = {}
    with path.open("rb") as lines:
        for line in lines:
            try:
                name = shared_name(line)
                if name is None and is_sealed(line):
                    require_whole(line)
                fields = parse_line(line)
                if name is None:
                    yield restore(fields, common.__getitem__)
                elif "common" in fields:
                    common[name.decode()] = fields
            except (LookupError, ValueError):
                continue


def _hold(path: Path) -> int:
    """Return a descriptor of a cassette that no other process may record to meanwhile."""
    fd = open_private(path, os.O_RDWR)
    is_held = try_lock(fd)
    if not is_held:
        os.close(fd)
        raise ConfigError(f"{path} is being recorded by another process: wait for it to end")
    return fd


def _sealed_lines(path: Path) -> Iterator[bytes]:
    """Return the lines of a cassette with fresh checksums, its header first.

    A shared line that was changed gets another name, so that all lines are written again.

    Raises:
        FormatError: when a line is no exchange, whatever its checksum.
    """
    with path.open("rb") as file:
        first = file.readline(MAX_HEADER_BYTES)
        header = read_header(path, first, is_changed=True)
        yield header_line(header.normalise)
        old: dict[str, dict[str, Any]] = {}
        new: set[bytes] = set()
        sharing = Sharing(new.__contains__)
        for number, raw in enumerate(file, start=2):
            line = raw.removeprefix(BOM).rstrip() + b"\n"
            if line == b"\n":
                continue
            if is_header(line):
                joined = read_header(path, line, line=number, is_changed=True)
                if joined.normalise != header.normalise:
                    raise FormatError(
                        path, number, "starts another cassette with other normalisers: cut it here"
                    )
                continue
            try:
                document = parse_line(line)
                if header.is_shared and "shared" in document:
                    old[str(document.pop("shared"))] = document
                    continue
                split_head(line)
                if header.is_shared:
                    document = whole_prompt(restore(document, old.__getitem__), old.__getitem__)
                document.pop("check", None)
                check_fields(document)
                decode_exchange(document)
                *shared, line = sharing.pack(document)
            except (LookupError, ValueError) as error:
                raise FormatError(path, number, f"is no exchange: {error}") from error
            for each in shared:
                new.add(shared_name(each) or b"")
                yield each
            yield seal_line(line)


def seal_cassette(path: Path) -> int:
    """Give every line of a cassette a fresh checksum, and return how many there are.

    A cassette of version 1 becomes one of the present version. The file is replaced once
    the whole of it is written.

    Raises:
        FormatError: when it is no cassette, or a line is no exchange. It is left alone.
        ConfigError: when another process records to it.
        OSError: when it cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    count = -1
    held = _hold(path)
    try:
        with open_fresh(partial) as sealed:
            for line in _sealed_lines(path):
                sealed.write(line)
                count += not line.startswith(b'{"shared"')
        shutil.copymode(path, partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(held)
    return count
