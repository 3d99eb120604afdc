"""Filters of LangGraph store searches, as `InMemoryStore` understands them."""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

__all__ = ["matches_filter"]

_ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": gt,
    "$gte": ge,
    "$lt": lt,
    "$lte": le,
}


def matches_filter(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a stored value passes a filter.

    Operators are `$eq $ne $gt $gte $lt $lte`; without one, equality is meant, and
    objects and lists are compared inside. We depart from `InMemoryStore` where an
    ordering meets a missing field or another type: that does not match, instead of
    failing; and two strings are compared as strings.

    Raises:
        ValueError: when an operator is none of those.
    """
    if not wanted:
        return True
    return all(_matches(value.get(name), condition) for name, condition in wanted.items())


def _matches(found: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping):
        if any(str(name).startswith("$") for name in condition):
            return all(_holds(found, name, operand) for name, operand in condition.items())
        return isinstance(found, Mapping) and all(
            _matches(found.get(name), part) for name, part in condition.items()
        )
    if isinstance(condition, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(condition)
            and all(map(_matches, found, condition))
        )
    return bool(found == condition)


def _holds(found: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(found == operand)
    if operator == "$ne":
        return bool(found != operand)
    ordering = _ORDERINGS.get(operator)
    if ordering is None:
        raise ValueError(
            f"unknown filter operator {operator!r}; known are $eq $ne $gt $gte $lt $lte"
        )
    if isinstance(found, str) and isinstance(operand, str):
        return ordering(found, operand)
    try:
        return ordering(float(found), float(operand))
    except (TypeError, ValueError):
        return False
