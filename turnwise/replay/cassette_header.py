"""The first line of a cassette: what it is, of which version, and what its keys leave out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from turnwise.calls.errors import FormatError
from turnwise.calls.key import KEY_VERSION
from turnwise.replay.cassette_check import is_header_whole, seal_header
from turnwise.replay.cassette_exchange import parse_line

__all__ = [
    "BOM",
    "CASSETTE_VERSION",
    "HEADER",
    "MAX_HEADER_BYTES",
    "CassetteHeader",
    "check_is_cassette",
    "header_line",
    "is_header",
    "is_unstarted",
    "read_header",
]

CASSETTE_VERSION = 3
"""Changes when a line cannot be read as before.

Version 1 had no checksums, and versions 1 and 2 no shared lines. Both are played, and
recorded on as they are.
"""

_SEALED_SINCE, _SHARED_SINCE = 2, 3
_VERSIONS = range(1, CASSETTE_VERSION + 1)

MAX_HEADER_BYTES = 65_536
"""How far a first line is looked for."""

BOM = b"\xef\xbb\xbf"
"""A byte order mark, as some editors put before the first line. Passed over."""

_MARK = b'{"turnwise_cassette":'


def header_line(
    normalise: Sequence[Mapping[str, str]] = (), *, version: int = CASSETTE_VERSION
) -> bytes:
    """Return the first line of a cassette.

    Args:
        normalise: the rules of its keys, as `Normaliser.describe` gives them.
        version: of its lines.
    """
    document: dict[str, object] = {"turnwise_cassette": version, "key_version": KEY_VERSION}
    if normalise:
        document["normalise"] = list(normalise)
    line = orjson.dumps(document)
    return seal_header(line) if version >= _SEALED_SINCE else line + b"\n"


HEADER = header_line()
"""The first line of a cassette without normalisers, as this version writes it."""

_BEGINNINGS = tuple(header_line(version=each).partition(b',"check"')[0] for each in _VERSIONS)
_EXCHANGE = b'"key":"'


@dataclass(frozen=True, slots=True)
class CassetteHeader:
    """What a cassette's first line has.

    Args:
        version: of its lines.
        normalise: the rules that its keys were made by. Untrusted.
    """

    version: int
    normalise: tuple[Mapping[str, str], ...] = ()

    @property
    def is_sealed(self) -> bool:
        """Whether its lines have checksums."""
        return self.version >= _SEALED_SINCE

    @property
    def is_shared(self) -> bool:
        """Whether what its exchanges have in common has lines of its own."""
        return self.version >= _SHARED_SINCE


def _looks_like(first: bytes) -> str:
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
    return line.startswith(_MARK)


def is_unstarted(first: bytes) -> bool:
    """Return whether a file ends before its header does: nothing was recorded in it."""
    first = first.removeprefix(BOM)
    if first.endswith(b"\n") or _EXCHANGE in first:
        return False
    return any(each.startswith(first) or first.startswith(each) for each in _BEGINNINGS)


def check_is_cassette(path: Path, first: bytes) -> None:
    """Check a file's start against what every version of this format starts with.

    Raises:
        FormatError: when it is something else; says what it looks like.
    """
    if not is_header(first.removeprefix(BOM)):
        raise FormatError(
            path,
            1,
            f"is not a cassette: expected a first line like {HEADER.decode().strip()}, "
            f"found {_looks_like(first)}",
        )


def _rules(value: object) -> tuple[Mapping[str, str], ...]:
    is_list = isinstance(value, list) and all(
        isinstance(rule, dict) and len(rule) == 1 and all(isinstance(x, str) for x in rule.values())
        for rule in value
    )
    if not is_list:
        raise ValueError('the field normalise must be a list of objects like {"name": "uuid"}')
    return tuple(value)  # type: ignore[arg-type]  # checked above


def read_header(
    path: Path, first: bytes, *, line: int = 1, is_changed: bool = False
) -> CassetteHeader:
    """Return what a cassette's first line has.

    Args:
        path: the file, for errors.
        first: the line, its end included.
        line: its number, for errors.
        is_changed: whether it was changed on purpose, so that its checksum says nothing.

    Raises:
        FormatError: when it is no cassette, one of another version, or damaged; says what
            to do.
    """
    check_is_cassette(path, first)
    first = first.removeprefix(BOM)
    try:
        header = parse_line(first)
    except ValueError as error:
        raise FormatError(
            path, line, f"expected a whole cassette header at byte 0: {error}"
        ) from error
    advice = "record it anew (--mode rewrite), or replay it with the Turnwise that wrote it"
    version, key_version = header.pop("turnwise_cassette"), header.pop("key_version", None)
    if version not in _VERSIONS or type(version) is not int:
        raise FormatError(
            path,
            line,
            f"is a cassette of format version {version!r:.40}, this Turnwise reads versions "
            f"{_VERSIONS[0]} to {CASSETTE_VERSION}: {advice}",
        )
    if (version >= _SEALED_SINCE or "check" in header) and not (
        is_changed or is_header_whole(first)
    ):
        raise FormatError(
            path,
            line,
            "expected a whole cassette header at byte 0: it is not as it was written, its "
            "checksum differs. Restore it; or, after a change on purpose, seal it again: "
            "turnwise cassette FILE --seal",
        )
    header.pop("check", None)
    if key_version != KEY_VERSION:
        raise FormatError(
            path,
            line,
            f"was recorded with key version {key_version!r:.40}, this Turnwise makes keys of "
            f"version {KEY_VERSION} and would find nothing in it: {advice}",
        )
    try:
        rules = _rules(header.pop("normalise", []))
    except ValueError as error:
        raise FormatError(path, line, f"expected a whole cassette header: {error}") from error
    if header:
        raise FormatError(
            path,
            line,
            f"has the field {min(header)[:40]!r} in its header, which this Turnwise does not "
            f"know: a newer one wrote it; {advice}",
        )
    return CassetteHeader(version, rules)
