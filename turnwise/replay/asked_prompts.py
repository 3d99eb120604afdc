"""Digests of the prompts that a program asks with, so that a changed one is named as a cause.

A program that is not built on Turnwise has no prompt files. What is fixed in its prompts is
taken from its calls: the system messages, or the first message where there are none; the
definitions of its tools; the schema of its answers.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from turnwise.calls.call import Call
from turnwise.calls.schema import response_schema

__all__ = ["AskedPrompts", "merged_digests"]

_DIGITS = 16


def _digest(value: Any) -> str:
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _fixed_parts(call: Call) -> Mapping[str, Any]:
    """Return what is fixed in a call's prompt, by name: the node's, with the kind behind it."""
    node = (call.origin.node if call.origin else "") or "-"
    texts = [message.content for message in call.messages if message.role == "system"]
    texts = texts or [message.content for message in call.messages[:1]]
    parts: dict[str, Any] = {node: texts} if texts else {}
    if call.tools:
        parts[f"{node} tools"] = [dict(tool) for tool in call.tools]
    if call.response_model is not None:
        parts[f"{node} schema"] = response_schema(call.response_model)
    return parts


class AskedPrompts:
    """The different prompts of a program, by node."""

    def __init__(self) -> None:
        self._digests: dict[str, set[str]] = {}

    def add(self, call: Call) -> None:
        """Count the fixed parts of a call's prompt in."""
        for name, part in _fixed_parts(call).items():
            try:
                digest = _digest(part)
            except orjson.JSONEncodeError:  # a lone surrogate, which no UTF-8 has
                digest = _digest(repr(part).encode("utf-8", "backslashreplace").decode())
            self._digests.setdefault(name, set()).add(digest)

    def digests(self) -> dict[str, list[str]]:
        """Return the digests of each node's prompts, sorted."""
        return {name: sorted(found) for name, found in sorted(self._digests.items())}


def merged_digests(several: Iterable[Mapping[str, Iterable[str]]]) -> dict[str, str]:
    """Return one digest for each name, of all the prompts that it had."""
    found: dict[str, set[str]] = {}
    for digests in several:
        for name, each in digests.items():
            found.setdefault(name, set()).update(each)
    return {
        name: next(iter(each)) if len(each) == 1 else _digest(sorted(each))
        for name, each in sorted(found.items())
    }
