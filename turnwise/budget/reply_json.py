"""A reply as a JSON object, and back. Its `parsed` is left out: it is read anew."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from turnwise.calls.reply import Reply, Usage, document_of_logprobs, logprobs_of_document

__all__ = ["document_of_reply", "reply_of_document"]

_TEXTS_IF_ANY = ("reasoning_text", "system_fingerprint")
_OF_OWN_FORM = {"parsed", "usage", "token_logprobs", *_TEXTS_IF_ANY}
_PLAIN = tuple(field.name for field in fields(Reply) if field.name not in _OF_OWN_FORM)
_USAGE = tuple(field.name for field in fields(Usage))


def document_of_reply(reply: Reply) -> dict[str, Any]:
    """Return a reply as a JSON object; what it need not have, only where it has any."""
    document = {name: getattr(reply, name) for name in _PLAIN}
    document["usage"] = {name: getattr(reply.usage, name) for name in _USAGE}
    if reply.token_logprobs:
        document["token_logprobs"] = document_of_logprobs(reply.token_logprobs)
    document |= {name: text for name in _TEXTS_IF_ANY if (text := getattr(reply, name))}
    return document


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
        return Reply(**values, usage=Usage(**document["usage"]))
    except (KeyError, TypeError) as problem:
        raise ValueError(f"not a reply: {problem!r}") from problem
