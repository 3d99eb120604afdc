"""A cassette looked over line by line, and sealed again after a change on purpose."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.replay.cassette_check import is_sealed, seal_line, unsealed
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
from turnwise.replay.held_files import open_fresh, open_private, try_lock

__all__ = ["CassetteSurvey", "seal_cassette", "survey_cassette"]

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
                document = file.read(entry)
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

    Raises:
        FormatError: when a line is no exchange, whatever its checksum.
    """
    with path.open("rb") as file:
        first = file.readline(MAX_HEADER_BYTES)
        header = read_header(path, first, is_changed=True)
        yield header_line(header.normalise)
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
            line = unsealed(line) if is_sealed(line) else line
            try:
                split_head(line)
                document = parse_line(line)
                check_fields(document)
                decode_exchange(document)
            except ValueError as error:
                raise FormatError(path, number, f"is no exchange: {error}") from error
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
                count += 1
        shutil.copymode(path, partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(held)
    return count
