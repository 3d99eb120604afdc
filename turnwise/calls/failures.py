"""What a provider's failure means, in the words of the error tree, without secrets.

Shared by every client that talks to a provider, so that a 429 is a `RateLimited`
whoever noticed it.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from turnwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallError,
    CallTimeout,
    ContentRefused,
    RateLimited,
    ServerFailed,
)

__all__ = ["describe_body", "failure_of_status", "retry_after_seconds", "scrub"]

MAX_MESSAGE_CHARS = 500
"""How much of a provider's words an error repeats, in characters."""

MIN_KEY_CHARS = 8
"""A shorter key is not looked for in texts: it would blank out ordinary words."""

_KEY_SHAPES = re.compile(
    r"(?i:\bbearer\s+)\S+"  # an echoed Authorization header
    r"|\b(?:sk|pk|gsk|xai|hf|AIza)[-_][\w*.…-]{6,}"  # the shapes of well-known keys
)


def scrub(text: str, *secrets: str | None) -> str:
    """Return a text without keys, on one line, and not longer than an error should be.

    Args:
        text: a provider's words. Untrusted.
        secrets: keys that must not stand in it, whole or by their first characters
            (providers echo `abcd****wxyz`).
    """
    for secret in secrets:
        if secret and len(secret) >= MIN_KEY_CHARS:
            text = text.replace(secret, "[key]")
            text = re.sub(re.escape(secret[:4]) + r"[\w*.…-]{4,}", "[key]", text)
    text = " ".join(_KEY_SHAPES.sub("[key]", text).split())
    if len(text) > MAX_MESSAGE_CHARS:
        return text[:MAX_MESSAGE_CHARS] + "…"
    return text


def describe_body(content: bytes, content_type: str) -> str:
    """Return what a body that should have been JSON is, in a few words."""
    if not content.strip():
        return "an empty body"
    start = content[:200].lstrip().lower()
    if "html" in content_type.lower() or start.startswith((b"<!doctype html", b"<html")):
        title = re.search(rb"(?is)<title[^>]*>(.{0,80}?)</title>", content[:4096])
        words = title.group(1).decode("utf-8", "replace").strip() if title else ""
        return f"an HTML page{f' titled {words!r}' if words else ''}"
    kind = content_type.partition(";")[0].strip() or "no content type"
    beginning = content[:80].decode("utf-8", "replace")
    return f"{len(content)} bytes of {kind} that are not JSON, starting {beginning!r}"


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return how long a response asks to wait, or None where it does not say.

    Reads `retry-after-ms`, and `Retry-After` as seconds or as an HTTP date.
    A date in the past is 0.

    Args:
        headers: the response's headers, names in lower case or case-insensitive.
        now: the current time, with a time zone.

    Source: RFC 9110, section 10.2.3.
    """
    milliseconds = _non_negative(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _non_negative(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - now).total_seconds(), 0.0)


def _non_negative(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def failure_of_status(
    status: int,
    message: str,
    *,
    code: str | None = None,
    retry_after: float | None = None,
    latency_seconds: float = 0.0,
) -> CallError:
    """Return the error that an HTTP status other than success means.

    Args:
        status: HTTP status, 300-599.
        message: what happened, already scrubbed.
        code: the provider's own name for it, where it gave one.
        retry_after: seconds the server asks to wait.
        latency_seconds: time that the attempt took.
    """
    if code == "content_filter":
        return ContentRefused(message)
    if status == 429:
        return RateLimited(
            message, retry_after_seconds=retry_after, latency_seconds=latency_seconds
        )
    kind = (
        BadResponse
        if status < 400
        else AuthFailed
        if status in {401, 403}
        else CallTimeout
        if status == 408
        else BadRequest
        if status < 500
        else ServerFailed
    )
    return kind(message, status=status, latency_seconds=latency_seconds)
