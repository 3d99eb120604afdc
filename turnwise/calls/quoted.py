"""JSON that stands in a call's prompt: an answer that repeats it quotes and does not answer.

A user may write a verdict or a note in the form that a judge is asked for, and a model may
repeat it before its answer, after it, or instead. So what stands in the texts of a prompt's
JSON material is never the answer, nor is a repetition of the material itself; one of its
fields may well come back unchanged, such as a summary. A prompt in plain words is not looked
into: an example in it may well be what is to be answered.
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
        self._documents: list[Mapping[str, Any] | list[Any]] | None = None
        self._materials: list[Mapping[str, Any]] = []

    def has(self, value: Any) -> bool:
        """Return whether a document is one of the prompt's, or a part of its members.

        Of a list of objects, or of an object around one, each entry is looked for; a list of
        texts is looked for as a whole.
        """
        if self._documents is None:
            if self._lacks_a_key_of(value):
                return False
            self._documents = list(self._found())
        if not self._documents and not self._materials:
            return False
        if isinstance(value, Mapping):
            sources = [each for each in self._documents if isinstance(each, Mapping)]
            if len(value) > 1:
                sources += self._materials
            if value and any(value.items() <= each.items() for each in sources):
                return True
            value = next(iter(value.values())) if len(value) == 1 else None
        if not isinstance(value, list) or not value:
            return False
        return value in self._documents or all(map(self._has_entry, value))

    def _lacks_a_key_of(self, value: Any) -> bool:
        """Return whether the prompt, unread, shows that it has no object with all of the keys.

        A key in letters is in a JSON text as it is, unless there are escapes of letters, here or
        in a text of it.
        """
        if not isinstance(value, dict) or len(value) < 2:
            return False
        contents = [each.content for each in self._messages if each.role == "user"]
        if any("\\\\" in content or "\\u" in content for content in contents):
            return False
        return any(
            isinstance(key, str)
            and key.isidentifier()
            and key.isascii()
            and not any(key in content for content in contents)
            for key in value
        )

    def _has_entry(self, entry: Any) -> bool:
        return isinstance(entry, Mapping) and self.has(entry)

    def _found(self) -> Iterator[Mapping[str, Any] | list[Any]]:
        for message in self._messages:
            if message.role == "user" and message.content.startswith("{"):
                try:
                    material = orjson.loads(message.content)
                except orjson.JSONDecodeError:
                    continue
                self._materials.append(material)
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
def _documents_in(text: str) -> tuple[Mapping[str, Any] | list[Any], ...]:
    """Return the objects and lists of texts in a text; most calls of a turn have the same."""
    documents = find_documents(text).documents
    return tuple(each for found in documents for each in _objects(found.value, MAX_DEPTH))


def _objects(node: Any, levels: int) -> Iterator[Mapping[str, Any] | list[Any]]:
    """Yield the objects and the lists of texts in a document, the outermost first."""
    is_list_of_texts = isinstance(node, list) and any(isinstance(each, str) for each in node)
    if is_list_of_texts or isinstance(node, Mapping):
        yield node
    if levels:
        for child in _children(node):
            yield from _objects(child, levels - 1)


def _children(node: Any) -> Sequence[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list) else ()
