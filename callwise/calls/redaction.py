"""Redaction of keys from texts, in every form in which they come back.

Providers, proxies and libraries echo what they were sent: whole, by its first and last
characters, encoded for a URL, for JSON or in base64, or cut by line breaks. Shared by what
clients read and by what the budgeter raises.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

__all__ = ["KEY", "redact", "redact_document", "redact_whole"]

KEY = "[key]"
"""Replacement of a key."""

MIN_KEY_CHARS = 8
"""A shorter key is not looked for in texts: it would blank out ordinary words."""

MIN_PART_CHARS = 8
"""A part of a key of this length is as telling as the key; shorter ones may be words."""

MIN_SHOWN_CHARS = 3
"""So many of a key's first or last characters, next to a mask, are an echo of it."""

_SHAPES = re.compile(
    r"(?i:\bbearer\s+)\S+"  # an echoed Authorization header
    r"|(?i:\bbasic\s+)[A-Za-z0-9+/=_-]{16,}"
    r"|\b(?:sk|pk|gsk|xai|hf|AIza|gh[pousr]|xox[abp])[-_][\w*.…-]{6,}"  # well-known keys
    r"|\bAKIA[0-9A-Z]{12,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a signed token
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"  # user and password of a URL
    r"|(?i:(?<=[?&]key=)|(?<=[?&]api_key=)|(?<=[?&]api-key=)|(?<=[?&]token=))[^&\s\"']+"
)

_MASK = re.compile(r"(?:[*•●·█…]|\.{2,}|[xX#]{3,}|(?i:\[(?:redacted|hidden|masked)\]|<redacted>))+")

_PERCENT_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")

_ESCAPED_BREAK = re.compile(r"\\{1,4}[nrt]")
"""An escaped line's end or tab in a document's source."""

_GAP = r"(?:\s|\\{1,4}[nrt]|\\\n|[\"'][\s+,]{0,20}[\"']){0,40}"
"""Text between two characters of a key that was cut: a line's end, also an escaped
one, or the end of a quoted piece and the beginning of the next."""


def _character(char: str) -> str:
    """Return a pattern of a character as it is, or escaped for JSON, a URL or HTML."""
    number = ord(char)
    encoded = "".join(f"%(?:25){{0,3}}{byte:02X}" for byte in char.encode())
    forms = (
        rf"\\{{0,4}}{re.escape(char)}",
        f"(?i:{encoded})",
        rf"\\{{1,4}}(?i:u{number:04x}|x{number:02x})",
        rf"&\#(?i:0{{0,6}}{number}|x0{{0,6}}{number:x});",
    )
    return f"(?:{'|'.join(forms)})"


def _in_base64(secret: str) -> Iterator[str]:
    """Yield the part of a key's base64 that is the same whatever precedes and follows it."""
    data = secret.encode()
    for before in range(3):
        whole = b64encode(b"\0" * before + data).decode()
        begin = -(-before * 8 // 6)
        end = (before + len(data)) * 8 // 6
        yield whole[begin:end]


@lru_cache(maxsize=64)
def _needles(secret: str) -> tuple[str, ...]:
    """Return the forms of a key that are looked for first, since that is fast."""
    coded = [form for core in _in_base64(secret) for form in (core, _url_safe(core))]
    quoted = quote(secret, safe="")
    hexed = secret.encode().hex()
    return tuple(dict.fromkeys([secret, quoted, quoted.lower(), hexed, hexed.upper(), *coded]))


def _url_safe(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")


@lru_cache(maxsize=64)
def _whole(secret: str) -> re.Pattern[str]:
    coded = {form for core in _in_base64(secret) for form in (core, _url_safe(core))}
    hexed = f"(?i:{_GAP.join(map(re.escape, secret.encode().hex()))})"
    forms = [
        _GAP.join(map(_character, secret)),
        *(_GAP.join(map(re.escape, core)) for core in sorted(coded)),
        hexed,
    ]
    return re.compile("|".join(forms))


def redact_whole(text: str, secrets: Sequence[str]) -> str:
    """Return a text without whole keys in any form; for answers, whose words are kept.

    Args:
        secrets: keys; shorter ones than `MIN_KEY_CHARS` are left alone.
    """
    for secret in secrets:
        # No form of a key is shorter than the key.
        if MIN_KEY_CHARS <= len(secret) <= len(text):
            text = _whole(secret).sub(KEY, text)
    return text


def redact_document(document: Any, secrets: Sequence[str], *, source: str | None = None) -> Any:
    """Return plain JSON data without whole keys in its texts.

    Args:
        source: what it was read from, where that is at hand: nothing is looked for in the
            document if no form of a key is in there.
    """
    long_ones = [secret for secret in secrets if len(secret) >= MIN_KEY_CHARS]
    if source is not None and not _has_escapes(source):
        joined = _joined(source)  # a key that was cut over lines
        long_ones = [
            each
            for each in long_ones
            if any(form in source or form in joined for form in _needles(each))
        ]
    return _redacted(document, long_ones) if long_ones else document


def _has_escapes(source: str) -> bool:
    """Return whether any character of a text may be in it in an escaped form."""
    if "\\u00" in source or "&#" in source:
        return True
    return "%" in source and _PERCENT_ESCAPE.search(source) is not None


def _joined(source: str) -> str:
    """Return a document's source without line ends and blanks, escaped ones too."""
    if "\\" in source:
        source = _ESCAPED_BREAK.sub("", source)
    return "".join(source.split())


def _redacted(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return redact_whole(value, secrets)
    if isinstance(value, Mapping):
        return {name: _redacted(item, secrets) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, secrets) for item in value]
    return value


def redact(text: str, *secrets: str | None) -> str:
    """Return a text without keys, whole ones, parts and masked echoes; for errors and notes.

    Args:
        secrets: keys that must not be in it. What resembles a well-known key goes too.
    """
    for secret in secrets:
        if secret and len(secret) >= MIN_KEY_CHARS:
            text = _whole(secret).sub(KEY, text)
            text = _without_masked(text, secret)
            text = _without_parts(text, secret)
    return _SHAPES.sub(KEY, text)


def _without_masked(text: str, secret: str) -> str:
    """Return a text without echoes such as `abcd****wxyz`, `****wxyz` or `abcd...`."""
    kept, done = [], 0
    for mask in _MASK.finditer(text):
        if mask.start() < done:
            continue
        begin, end = mask.span()
        sizes = range(len(secret), 0, -1)
        first = next(
            (
                size
                for size in sizes
                if begin - size >= done and text.startswith(secret[:size], begin - size)
            ),
            0,
        )
        last = next((size for size in sizes if text.startswith(secret[-size:], end)), 0)
        if max(first, last) >= MIN_SHOWN_CHARS:
            kept += [text[done : begin - first], KEY]
            done = end + last
    return "".join([*kept, text[done:]])


def _without_parts(text: str, secret: str) -> str:
    size = MIN_PART_CHARS
    parts = _parts(secret)
    kept, done, at = [], 0, 0
    while at + size <= len(text):
        if text[at : at + size] not in parts:
            at += 1
            continue
        end = at + size
        while end < len(text) and text[end - size + 1 : end + 1] in parts:
            end += 1
        kept += [text[done:at], KEY]
        done = at = end
    return "".join([*kept, text[done:]])


@lru_cache(maxsize=64)
def _parts(secret: str) -> frozenset[str]:
    size = MIN_PART_CHARS
    return frozenset(secret[at : at + size] for at in range(len(secret) - size + 1))
