"""Rate limits as response headers state them, read with distrust.

`x-ratelimit-limit-*`, `-remaining-*` and `-reset-*` for requests, tokens, input tokens and
output tokens. Numbers that cannot be right (negative, not finite, zero limits, more left than
there is) are passed over, and so are limits whose reset is more than a minute away: those are
of an hour or a day, and pacing by them would spread a burst that is allowed.

Source: OpenAI, "Rate limits in headers": resets are durations such as `1s` and `6m0s`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["HeaderLimit", "limits_of_headers", "seconds_of_duration"]

_NAMES = ("requests", "tokens", "input-tokens", "output-tokens")

MAX_LIMIT = 1e12
"""A higher limit is none."""

MAX_RESET_SECONDS = 61.0
"""Longest time until a limit per minute is whole again."""

_UNIT_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|d|h|m|s)")
_MAX_CHARS = 40


class HeaderLimit(NamedTuple):
    """A limit per minute that a response states.

    Args:
        remaining: what is left of it; None where that is not stated, or cannot be.
    """

    limit: float
    remaining: float | None


def limits_of_headers(headers: Mapping[str, str]) -> Iterator[tuple[int, HeaderLimit]]:
    """Yield the limits that headers state, each with its place in `Rates.per_minute`.

    Args:
        headers: names in lower case, or a mapping that ignores case.
    """
    for dimension, name in enumerate(_NAMES):
        stated = headers.get(f"x-ratelimit-limit-{name}")
        if stated is None:
            continue
        limit = _number(stated)
        if limit is None or not 1 <= limit <= MAX_LIMIT:
            continue
        reset_seconds = seconds_of_duration(headers.get(f"x-ratelimit-reset-{name}", ""))
        if reset_seconds is not None and reset_seconds > MAX_RESET_SECONDS:
            continue
        remaining = _number(headers.get(f"x-ratelimit-remaining-{name}", ""))
        if remaining is not None and not 0 <= remaining <= limit:
            remaining = None
        yield dimension, HeaderLimit(limit, remaining)


def seconds_of_duration(text: str) -> float | None:
    """Return the seconds of `6m0s`, `1s`, `120ms` or a bare number; None for anything else."""
    text = text.strip().lower()
    if len(text) > _MAX_CHARS:
        return None
    number = _number(text)
    if number is not None:
        return number if number >= 0 else None
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return math.fsum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _number(text: str) -> float | None:
    text = text.strip()
    if len(text) > _MAX_CHARS:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
