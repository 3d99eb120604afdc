"""A kept reply as a JSON object, as cache tiers outside of memory store it.

Its `parsed` is left out, and read again from the text.
"""

from collections.abc import Mapping
from dataclasses import fields
from math import inf
from typing import Any

from callwise.budget.layers.cache import ENDLESS, Lifetime
from callwise.calls.reply import (
    Reply,
    ReportedUsage,
    document_of_logprobs,
    logprobs_of_document,
)

__all__ = [
    "document_of_reply",
    "lifetime_of_document",
    "reply_of_document",
]

_TEXTS_IF_ANY = ("reasoning_text", "system_fingerprint")
_OF_OWN_FORM = {"parsed", "usage", "token_logprobs", "delivery", *_TEXTS_IF_ANY}
_PLAIN = tuple(field.name for field in fields(Reply) if field.name not in _OF_OWN_FORM)
_USAGE = tuple(field.name for field in fields(ReportedUsage))


def document_of_reply(
    reply: Reply, lifetime: Lifetime = ENDLESS, now_seconds: float = 0.0
) -> dict[str, Any]:
    """Return a reply as a JSON object; what it need not have, only where it has any.

    Args:
        now_seconds: since 1970; written with a lifetime that ends.
    """
    document = {name: getattr(reply, name) for name in _PLAIN}
    document["usage"] = {name: getattr(reply.usage, name) for name in _USAGE}
    if reply.token_logprobs:
        document["token_logprobs"] = document_of_logprobs(reply.token_logprobs)
    document |= {name: text for name in _TEXTS_IF_ANY if (text := getattr(reply, name))}
    if lifetime.seconds != inf:
        document["kept"] = [now_seconds, *lifetime]
    return document


def lifetime_of_document(document: Mapping[str, Any], now_seconds: float) -> Lifetime | None:
    """Return what is left of the lifetime of a reply's document; None when it is over.

    Raises:
        ValueError: when it has a lifetime that cannot be read.
    """
    kept = document.get("kept")
    if kept is None:
        return ENDLESS
    try:
        written_at_seconds, seconds, is_fixed = kept
        return Lifetime(float(seconds), bool(is_fixed)).left_at(now_seconds - written_at_seconds)
    except (TypeError, ValueError) as problem:
        raise ValueError(f"not a lifetime: {kept!r:.60}") from problem


def reply_of_document(document: Mapping[str, Any]) -> Reply:
    """Return the reply that `document_of_reply` made a document of.

    Raises:
        ValueError: when it is not such a document.
    """
    try:
        values = {name: document[name] for name in _PLAIN}
        for name in ("choices", "tool_calls", "chunks"):
            values[name] = tuple(values[name])
        values["vectors"] = tuple(tuple(vector) for vector in values["vectors"])
        values["token_logprobs"] = logprobs_of_document(document.get("token_logprobs", ()))
        values |= {name: document.get(name, "") for name in _TEXTS_IF_ANY}
        return Reply(**values, usage=ReportedUsage(**document["usage"]))
    except (KeyError, TypeError) as problem:
        raise ValueError(f"not a reply: {problem!r}") from problem
