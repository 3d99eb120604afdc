"""Values of unchecked JSON: one of another type than expected counts as absent."""

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_FACT_CHARS", "Fact", "facts_of", "figure", "items", "mapping", "text"]

Fact = tuple[str, str | int | float | bool]
"""A name and a plain value. Both are untrusted; a name is never used as a key."""

DIGITS = 6
"""Digits kept after the point."""

MAX_FACT_CHARS = 200
"""Longest text that still is a fact and no document."""


def figure(value: Any) -> int | float | None:
    """Return a finite number, rounded; None for anything else, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        if not math.isfinite(value):
            return None
    except OverflowError:  # a whole number beyond any float
        return None
    return value if isinstance(value, int) else round(value, DIGITS)


def text(value: Any) -> str:
    """Return a text; empty for anything else."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; empty for anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Any]:
    """Return a JSON list; empty for anything else."""
    return list(value) if isinstance(value, list | tuple) else []


def facts_of(raw: Mapping[str, Any], *, leaving_out: frozenset[str] = frozenset()) -> list[Fact]:
    """Return the plain values of a JSON object, in its order; no null, no list, no long text.

    Args:
        raw: the object.
        leaving_out: names that are shown elsewhere.
    """
    found: list[Fact] = []
    for name, value in raw.items():
        if name in leaving_out:
            continue
        is_short = isinstance(value, str) and 0 < len(value) <= MAX_FACT_CHARS
        if isinstance(value, bool) or is_short:
            found.append((name, value))
        elif (number := figure(value)) is not None:
            found.append((name, number))
    return found
