"""First line of a cassette, and the checksums of its lines: a flipped bit is an error.

The header names the format's version and what the keys leave out.

After key and lane a line has 24 hex digits: the length of the line, the CRC-32 of what
follows them, and the CRC-32 of all before this last number. Opening a cassette checks the
heads, so that no exchange is filed under another call; what follows is checked when the
exchange is read. By the length, a line that was cut off by a kill differs from a damaged
one, and two lines that became one are found.

This is against chance: disks, copies, editors. A line that was changed on purpose can be
sealed again (`callwise cassette FILE --seal`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from zlib import crc32

import orjson

from callwise.calls.errors import FormatError
from callwise.calls.key import KEY_VERSION
from callwise.recordings.cassette_format import HEAD_BYTES, parse_line, split_head
from callwise.recordings.typed_json import under_this_name

__all__ = [
    "BOM",
    "HEADER",
    "MAX_HEADER_BYTES",
    "SEAL_HINT",
    "LineDamaged",
    "Rules",
    "check_is_cassette",
    "header_line",
    "holds_another",
    "is_header",
    "is_sealed",
    "is_unstarted",
    "read_header",
    "require_whole",
    "seal_line",
    "split_sealed_head",
]

_NAME = b'","check":"'
_LENGTH_AT = HEAD_BYTES + len(_NAME)
_BODY_AT = _LENGTH_AT + 8
_HEAD_AT = _BODY_AT + 8
_END = _HEAD_AT + 8

_START = re.compile(
    rb'\{"key":"[0-9a-f]{64}","lane":"|\{"(?:(?:callwise|turnwise)_cassette":|shared":")'
)
"""Start of a line. In a text, its quotation marks have a backslash."""

_HEADER_SEAL = re.compile(rb',"check":"([0-9a-f]{8})"\}\Z')


SEAL_HINT = "After a change on purpose, seal it again: callwise cassette FILE --seal"


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
        raise LineDamaged(f"its checksum does not fit its key and lane. {SEAL_HINT}")
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
        raise LineDamaged(f"its checksum differs, so that it was changed or damaged. {SEAL_HINT}")


def _is_header_whole(header: bytes) -> bool:
    seal = _HEADER_SEAL.search(header.rstrip(b"\r\n"))
    return seal is not None and int(seal[1], 16) == crc32(header[: seal.start()])


CASSETTE_VERSION = 3
"""Changes when a line cannot be read as before.

Versions 1 and 2 had keys of an older version, so that no call could be found in them.
"""

MAX_HEADER_BYTES = 65_536
"""Longest first line that is read."""

BOM = b"\xef\xbb\xbf"
"""A byte order mark, as some editors put before the first line. Passed over."""

_MARKS = (b'{"callwise_cassette":', b'{"turnwise_cassette":')
"""The second is of the name that the project had before."""


def header_line(normalise: Sequence[Mapping[str, str]] = ()) -> bytes:
    """Return the first line of a cassette.

    Args:
        normalise: the rules of its keys, as `Normaliser.describe` gives them.
    """
    document: dict[str, object] = {
        "callwise_cassette": CASSETTE_VERSION,
        "key_version": KEY_VERSION,
    }
    if normalise:
        document["normalise"] = list(normalise)
    start = orjson.dumps(document)[:-1]
    return b'%b,"check":"%08x"}\n' % (start, crc32(start))


HEADER = header_line()
"""The first line of a cassette without normalisers, as this version writes it."""

_BEGINNING = HEADER.partition(b',"check"')[0]
_EXCHANGE = b'"key":"'

Rules = tuple[Mapping[str, str], ...]
"""Rules that a cassette's keys were made by, as its header names them. Untrusted."""


def _kind_of(first: bytes) -> str:
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"\x1f\x8b"):
        return "a gzip file: it can be played, and must be unpacked to be recorded on"
    if text.startswith(b"<"):
        return "HTML or XML"
    if text.startswith(b"{"):
        return "JSON of another kind, such as a conversation"
    return "something else"


def is_header(line: bytes) -> bool:
    """Return whether a line starts a cassette, of whatever version."""
    return line.startswith(_MARKS)


def is_unstarted(first: bytes) -> bool:
    """Return whether a file ends before its header does: nothing was recorded in it."""
    first = first.removeprefix(BOM)
    if first.endswith(b"\n") or _EXCHANGE in first:
        return False
    return _BEGINNING.startswith(first) or first.startswith(_BEGINNING)


def check_is_cassette(path: Path, first: bytes) -> None:
    """Check a file's start against what every version of this format starts with.

    Raises:
        FormatError: when it is something else; names what it may be.
    """
    if not is_header(first.removeprefix(BOM)):
        raise FormatError(
            path,
            1,
            f"is not a cassette: expected a first line like {HEADER.decode().strip()}, "
            f"found {_kind_of(first)}",
        )


def _rules(value: object) -> Rules:
    is_list = isinstance(value, list) and all(
        isinstance(rule, dict) and len(rule) == 1 and all(isinstance(x, str) for x in rule.values())
        for rule in value
    )
    if not is_list:
        raise ValueError('the field normalise must be a list of objects like {"name": "uuid"}')
    return tuple(value)  # type: ignore[arg-type]  # checked above


_RESTORE = "Restore the file from a copy"


def _record_again(path: Path) -> str:
    """Return how a cassette that cannot be read is made again."""
    is_of_run = path.name == "cassette.jsonl" and (path.parent / "manifest.json").is_file()
    target = f"--out {quote(str(path.parent))}" if is_of_run else f"--record {quote(str(path))}"
    return (
        f"Record it again, with the same knobs: `callwise replay CONVERSATION... {target} "
        "--mode rewrite`; or replay it with the Callwise that wrote it"
    )


def read_header(path: Path, first: bytes, *, line: int = 1, is_changed: bool = False) -> Rules:
    """Return the rules that a cassette's first line names.

    Args:
        first: the line, its end included.
        is_changed: whether it was changed on purpose, so that its checksum means nothing.

    Raises:
        FormatError: when it is no cassette, one of another version, or damaged; with what
            to do.
    """

    def wrong(problem: str) -> FormatError:
        return FormatError(path, line, problem)

    check_is_cassette(path, first)
    first = first.removeprefix(BOM)
    try:
        header = under_this_name(parse_line(first))
    except ValueError as error:
        raise wrong(f"the header of the cassette is damaged: {error}. {_RESTORE}") from error
    hint = _record_again(path)
    version, key_version = header.pop("callwise_cassette"), header.pop("key_version", None)
    if version != CASSETTE_VERSION or type(version) is not int:
        raise wrong(
            f"is a cassette of format version {version!r:.40}, this Callwise reads version "
            f"{CASSETTE_VERSION}. {hint}"
        )
    if not is_changed and not _is_header_whole(first):
        raise wrong(
            "the header of the cassette was changed or damaged: its checksum differs. "
            f"{_RESTORE}. {SEAL_HINT}"
        )
    header.pop("check", None)
    if key_version != KEY_VERSION:
        raise wrong(
            f"was recorded with key version {key_version!r:.40}, this Callwise makes keys of "
            f"version {KEY_VERSION} and would find nothing in it. {hint}"
        )
    try:
        rules = _rules(header.pop("normalise", []))
    except ValueError as error:
        raise wrong(f"the header of the cassette cannot be read: {error}. {_RESTORE}") from error
    if header:
        raise wrong(
            f"has the field {min(header)[:40]!r} in its header, which this Callwise does not "
            f"know: a newer one wrote it. {hint}"
        )
    return rules
