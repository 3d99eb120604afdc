"""JSON that stands in a call's prompt: an answer that repeats it quotes and does not answer.

A user may write a verdict or a note in the form that a judge is asked for, and a model may
repeat it before its answer, after it, or instead. So what stands in the texts of a prompt's
JSON material is never the answer. A prompt in plain words is not looked into: an example in
it may well be what is to be answered.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from turnwise.calls.answer_text import find_documents
from turnwise.calls.call import Message

__all__ = ["Quotable"]

MAX_DEPTH = 8
"""How deep the material is looked into."""


class Quotable:
    """The JSON that an answer may quote from its prompt. Looked for when first asked.

    Args:
        messages: the prompt.
    """

    def __init__(self, messages: Sequence[Message] = ()) -> None:
        self._messages = messages
        self._documents: list[Mapping[str, Any]] | None = None

    def has(self, value: Any) -> bool:
        """Return whether a document is one of the prompt's, or a part of its members.

        Of a list, or of an object around a list, each entry is looked for.
        """
        if self._documents is None:
            self._documents = list(self._found())
        if not self._documents:
            return False
        if isinstance(value, Mapping):
            if value and any(value.items() <= each.items() for each in self._documents):
                return True
            value = next(iter(value.values())) if len(value) == 1 else None
        return isinstance(value, list) and bool(value) and all(map(self._has_entry, value))

    def _has_entry(self, entry: Any) -> bool:
        return isinstance(entry, Mapping) and self.has(entry)

    def _found(self) -> Iterator[Mapping[str, Any]]:
        for message in self._messages:
            if message.role == "user" and message.content.startswith("{"):
                try:
                    material = orjson.loads(message.content)
                except orjson.JSONDecodeError:
                    continue
                yield material
                for text in _texts(material, MAX_DEPTH):
                    yield from _documents_in(text)


def _texts(node: Any, levels: int) -> Iterator[str]:
    """Yield the texts that may hold a document."""
    if isinstance(node, str):
        if "{" in node or "[" in node:
            yield node
    elif levels:
        for child in _children(node):
            yield from _texts(child, levels - 1)


@lru_cache(maxsize=256)
def _documents_in(text: str) -> tuple[Mapping[str, Any], ...]:
    """Return the objects in a text; most calls of a turn have the same texts."""
    documents = find_documents(text).documents
    return tuple(each for found in documents for each in _objects(found.value, MAX_DEPTH))


def _objects(node: Any, levels: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in a document, the outermost first."""
    if isinstance(node, Mapping):
        yield node
    if levels:
        for child in _children(node):
            yield from _objects(child, levels - 1)


def _children(node: Any) -> Sequence[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list) else ()
