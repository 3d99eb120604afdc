"""Checksums of a cassette's lines: a bit that flipped is an error, never another answer.

After key and lane a line has 24 hex digits: the length of the line, the CRC-32 of what
follows them, and the CRC-32 of all before this last number. Opening a cassette checks the
heads, so that no exchange is filed under another call; what follows is checked when the
exchange is read. By the length, a line that was cut off by a kill is told from a damaged
one, and two lines that became one are found.

This is against chance: disks, copies, editors. A line that was changed on purpose can be
sealed again (`turnwise cassette FILE --seal`).
"""

import re
from zlib import crc32

from turnwise.replay.cassette_exchange import HEAD_BYTES, split_head

__all__ = [
    "SEAL_ADVICE",
    "LineDamaged",
    "holds_another",
    "is_header_whole",
    "is_sealed",
    "require_whole",
    "seal_header",
    "seal_line",
    "split_plain_head",
    "split_sealed_head",
]

_NAME = b'","check":"'
_LENGTH_AT = HEAD_BYTES + len(_NAME)
_BODY_AT = _LENGTH_AT + 8
_HEAD_AT = _BODY_AT + 8
_END = _HEAD_AT + 8

_START = re.compile(rb'\{"key":"[0-9a-f]{64}","lane":"|\{"(?:turnwise_cassette":|shared":")')
"""How a line starts. In a text, its quotation marks have a backslash."""

_HEADER_SEAL = re.compile(rb',"check":"([0-9a-f]{8})"\}\Z')


SEAL_ADVICE = "After a change on purpose, seal it again: turnwise cassette FILE --seal"


class LineDamaged(ValueError):
    """A line is not as it was written."""


def is_sealed(line: bytes) -> bool:
    """Return whether a line has checksums, whole or damaged."""
    return line[HEAD_BYTES:_LENGTH_AT] == _NAME


def seal_line(line: bytes) -> bytes:
    """Return an exchange's line with its checksums; its end is kept.

    Args:
        line: as JSON gives it: without checksums, one line end.
    """
    head, rest = line[:HEAD_BYTES], line[HEAD_BYTES:]
    length = _END + len(rest) - 1
    start = b"%b%b%08x%08x" % (head, _NAME, length, crc32(rest[:-1]))
    return b"%b%08x%b" % (start, crc32(start), rest)


def split_plain_head(line: bytes) -> tuple[bytes, bytes, int]:
    """Return key and lane of a line without checksums, and its length as it is."""
    return *split_head(line), len(line.removesuffix(b"\n"))


def split_sealed_head(line: bytes) -> tuple[bytes, bytes, int]:
    """Return a line's key (32 bytes), lane (8 bytes) and length without its line end.

    Raises:
        ValueError: when it does not start as an exchange does.
        LineDamaged: when it does, and its head is not as it was written.
    """
    key, lane = split_head(line)
    try:
        found, length = int(line[_HEAD_AT:_END], 16), int(line[_LENGTH_AT:_BODY_AT], 16)
    except ValueError:
        raise LineDamaged("its checksum is not readable") from None
    if not is_sealed(line) or found != crc32(line[:_HEAD_AT]):
        raise LineDamaged(f"its checksum does not fit its key and lane. {SEAL_ADVICE}")
    return key, lane, length


def holds_another(line: bytes) -> bool:
    """Return whether a line that is not as long as it was has another one in it."""
    return _START.search(line, HEAD_BYTES) is not None


def require_whole(line: bytes) -> None:
    """Check a sealed line against its checksums.

    Raises:
        LineDamaged: when it is not as it was written.
    """
    try:
        _, _, length = split_sealed_head(line)
    except ValueError as error:
        raise LineDamaged(str(error)) from error
    if (
        len(line) < length
        or line[length:].strip()
        or crc32(line[_END:length]) != int(line[_BODY_AT:_HEAD_AT], 16)
    ):
        raise LineDamaged(f"it is not as it was written, its checksum differs. {SEAL_ADVICE}")


def seal_header(header: bytes) -> bytes:
    """Return a header with its checksum.

    Args:
        header: a JSON object of at least one field, without line end.
    """
    return b'%b,"check":"%08x"}\n' % (header[:-1], crc32(header[:-1]))


def is_header_whole(header: bytes) -> bool:
    """Return whether a header's checksum fits it; line ends after it do no harm."""
    seal = _HEADER_SEAL.search(header.rstrip(b"\r\n"))
    return seal is not None and int(seal[1], 16) == crc32(header[: seal.start()])
