"""The first line of a cassette: what it is, and of which version."""

from pathlib import Path

import orjson

from turnwise.calls.errors import FormatError
from turnwise.calls.key import KEY_VERSION
from turnwise.replay.cassette_exchange import parse_line

__all__ = [
    "CASSETTE_VERSION",
    "HEADER",
    "MAX_HEADER_BYTES",
    "check_header",
    "check_is_cassette",
    "is_unstarted",
]

CASSETTE_VERSION = 1
"""Changes when a line cannot be read as before."""

HEADER = orjson.dumps({"turnwise_cassette": CASSETTE_VERSION, "key_version": KEY_VERSION}) + b"\n"
"""The first line as this version writes it."""

MAX_HEADER_BYTES = 65_536
"""How far a first line is looked for."""

_MARK = b'{"turnwise_cassette":'


def _looks_like(first: bytes) -> str:
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"\x1f\x8b"):
        return "a gzip file: it can be played, and must be unpacked to be recorded on"
    if text.startswith(b"<"):
        return "HTML or XML"
    if text.startswith(b"{"):
        return "JSON of another kind, such as a conversation"
    return "something else"


def is_unstarted(first: bytes) -> bool:
    """Return whether a file ends before its header does: nothing was recorded in it."""
    return not first.endswith(b"\n") and HEADER.startswith(first)


def check_is_cassette(path: Path, first: bytes) -> None:
    """Hold a file's start against what every version of this format starts with.

    Raises:
        FormatError: when it is something else; says what it looks like.
    """
    if not first.startswith(_MARK):
        raise FormatError(
            path,
            1,
            f"is not a cassette: expected a first line like {HEADER.decode().strip()}, "
            f"found {_looks_like(first)}",
        )


def check_header(path: Path, first: bytes) -> None:
    """Hold the first line against what this version reads.

    Raises:
        FormatError: when it is no cassette, or one of another version; says what to do.
    """
    check_is_cassette(path, first)
    try:
        header = parse_line(first)
    except ValueError as error:
        raise FormatError(path, 1, f"expected a whole cassette header: {error}") from error
    advice = "record it anew (--mode rewrite), or replay it with the Turnwise that wrote it"
    version, key_version = header["turnwise_cassette"], header.get("key_version")
    if version != CASSETTE_VERSION:
        raise FormatError(
            path,
            1,
            f"is a cassette of format version {version}, this Turnwise reads version "
            f"{CASSETTE_VERSION}: {advice}",
        )
    if key_version != KEY_VERSION:
        raise FormatError(
            path,
            1,
            f"was recorded with key version {key_version}, this Turnwise makes keys of version "
            f"{KEY_VERSION} and would find nothing in it: {advice}",
        )
