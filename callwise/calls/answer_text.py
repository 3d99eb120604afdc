"""JSON documents in the text of an answer, whatever a model wrote around or into them.

In this order: thoughts are set apart; whole documents are read as JSON; what is broken or
was cut off is read as far as it can be (see `loose_json`). The result depends on the
arguments alone, so a replay reads what the run read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from callwise.calls.call import Message
from callwise.calls.loose_json import (
    DECODER,
    MAX_REPAIRED_CHARS,
    OPENING,
    begins_document,
    may_begin,
    read_broken,
    read_cut,
    scan_document,
)
from callwise.calls.payload import mended, well_formed

__all__ = [
    "MAX_ANSWER_CHARS",
    "MAX_EXCERPT_CHARS",
    "Document",
    "FoundDocuments",
    "Quotable",
    "excerpt",
    "find_documents",
    "split_thoughts",
    "was_cut",
]

MAX_ANSWER_CHARS = 1_000_000
"""Longest answer that is read, in characters."""

MAX_TRIED = 32
"""Most brackets that are tried as the start of a broken document: a limit on useless work."""

MAX_EXCERPT_CHARS = 400
"""Longest part of an answer that is quoted back, in characters."""

_CUT_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})

_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n(?P<text>.*?)\n?\s*(?:```\s*)?\Z", re.DOTALL)


_AFTER_ANSWER = re.compile(r"[\s`*.]+")
"""Characters that may follow an answer that is the last thing."""


class Document(NamedTuple):
    """One JSON object or list that was found in an answer.

    Args:
        is_strict: whether it is JSON as it was written.
        is_cut: whether its end is missing, and what was not whole is left out.
        note: what had to be done to read it; blank when nothing.
    """

    value: Any
    is_strict: bool = True
    is_cut: bool = False
    note: str = ""

    @property
    def has_objects(self) -> bool:
        """Whether it is an object, or a list of nothing but objects."""
        return isinstance(self.value, dict) or all(isinstance(each, dict) for each in self.value)


class FoundDocuments(NamedTuple):
    """The documents of an answer.

    Args:
        problem: why there is none, or none after the last one; blank when there is no reason.
        is_cut: whether the answer ended before its end.
        excerpt: a short part of the answer without its thoughts, where the problem is.
    """

    documents: tuple[Document, ...]
    problem: str
    is_cut: bool
    excerpt: str


def was_cut(finish_reason: str | None) -> bool:
    """Return whether an answer was cut off by a limit."""
    return finish_reason is not None and finish_reason.lower() in _CUT_REASONS


def excerpt(text: str, position: int | None = None) -> str:
    """Return a short part of a text: around a position, or its beginning and end."""
    text = text.strip()
    if len(text) <= MAX_EXCERPT_CHARS:
        return text
    if position is None:
        half = MAX_EXCERPT_CHARS // 2 - 2
        return f"{text[:half]} … {text[-half:]}"
    begin = max(min(position, len(text)) - MAX_EXCERPT_CHARS // 2, 0)
    return text[begin : begin + MAX_EXCERPT_CHARS]


def find_documents(text: str, *, is_cut: bool = False, is_thoughts: bool = False) -> FoundDocuments:
    """Return the JSON documents of an answer.

    Thoughts count only where there is nothing outside of them and they end in a document:
    one inside of them is a draft or a quotation. A model that was cut while it thought has
    not answered.

    Args:
        text: the answer. Untrusted; parsed and never evaluated.
        is_cut: whether a limit cut it off; see `was_cut`.
        is_thoughts: whether all of it is thoughts, as a server marks them.
    """
    if len(text) > MAX_ANSWER_CHARS:
        problem = f"it has {len(text)} characters, more than {MAX_ANSWER_CHARS}"
        return FoundDocuments((), problem, is_cut, excerpt(text))
    visible, thoughts = split_thoughts(text.removeprefix("\ufeff"))
    if is_thoughts:
        visible, thoughts = "", f"{thoughts}\n{visible}"
    search = _Search(visible)
    documents = tuple(search.documents())
    if not visible.strip() and not is_cut:
        documents = _last_of_thoughts(thoughts, "" if is_thoughts else "read from the thoughts")
    problem = search.problem or ("" if documents else "there is no JSON object in it")
    part = excerpt(search.text, search.position)
    return FoundDocuments(documents[-MAX_TRIED:], problem, is_cut or search.is_open, part)


MAX_DRAFTS = 8
"""Most documents before a tag that are read, to find whether the tag is inside of one."""

_THOUGHT_NAMES = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection)"
_THOUGHT_TAG = re.compile(
    rf"<(?P<close_xml>/)?{_THOUGHT_NAMES}>"
    r"|\[(?P<close_bracket>/)?THINK\]"
    r"|\u25c1(?P<close_wide>/)?think\u25b7"
    r"|<\|(?:begin|(?P<close_of>end))_of_thought\|>",
    re.IGNORECASE,
)

_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.DOTALL,
)
"""One message of the harmony format, in which gpt-oss models answer."""


def split_thoughts(text: str) -> tuple[str, str]:
    """Return an answer's text without its thoughts, and the thoughts.

    A closing tag without an opening one ends thoughts that began in the prompt; an opening
    tag without a closing one begins thoughts that were cut off. A tag inside a string of a
    JSON document is part of that string.
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [match["text"] for match in channels if match["name"] == "final"]
        others = [match["text"] for match in channels if match["name"] != "final"]
        return "\n".join(final), "\n".join([text[: channels[0].start()], *others])
    visible: list[str] = []
    thoughts: list[str] = []
    begin = place = tried = 0
    tag = _THOUGHT_TAG.search(text)
    while tag is not None:
        bracket = OPENING.search(text, place, tag.start()) if tried < MAX_DRAFTS else None
        if bracket is not None and may_begin(text, bracket.start()):
            tried += 1
            is_inside, end = _extent(text, bracket.start(), tag.start())
            place = len(text) if end is None else end
            if is_inside:
                # Where the document does not end, it may be a draft in thoughts that do.
                tag = _THOUGHT_TAG.search(text, place) if end else _closing_tag(text, tag.start())
            continue
        if bracket is not None:
            place = bracket.end()
            continue
        if _is_closing(tag):
            thoughts += [*visible, text[begin : tag.start()]]
            visible = []
            begin = tag.end()
        else:
            visible.append(text[begin : tag.start()])
            closing = _closing_tag(text, tag.end())
            thoughts.append(text[tag.end() : None if closing is None else closing.start()])
            begin = len(text) if closing is None else closing.end()
        place = begin
        tag = _THOUGHT_TAG.search(text, begin)
    return "".join([*visible, text[begin:]]), "\n".join(thoughts)


def _is_closing(tag: re.Match[str]) -> bool:
    return any(tag.groupdict().values())


def _closing_tag(text: str, begin: int) -> re.Match[str] | None:
    return next(filter(_is_closing, _THOUGHT_TAG.finditer(text, begin)), None)


def _extent(text: str, start: int, tag: int) -> tuple[bool, int | None]:
    """Return whether a tag is inside of what begins at a bracket, and where that ends.

    The end is None where a document does not end, and the place of the tag where the tag is
    no part of it.
    """
    try:
        end = DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        if not begins_document(text, start):
            return False, start + 1
        before = scan_document(text[:tag], start)
        if before.end is not None or not before.is_in_string:
            return False, before.end or tag
        window = scan_document(text[: start + MAX_REPAIRED_CHARS], start)
        return True, window.end
    return end > tag, end


def _last_of_thoughts(thoughts: str, note: str) -> tuple[Document, ...]:
    search = _Search(thoughts)
    documents = list(search.documents())
    if not documents or not documents[-1].is_strict or _AFTER_ANSWER.sub("", search.rest):
        return ()
    return (documents[-1]._replace(note=note),)


class _Search:
    """The search for documents in a text without thoughts."""

    def __init__(self, text: str) -> None:
        fenced = _FENCE.match(text)
        self.text = text if fenced is None else fenced["text"]
        self.problem = ""
        self.position: int | None = None
        self.is_open = False
        self.rest = self.text

    def documents(self) -> Iterator[Document]:
        """Yield the documents in their order, none from inside another."""
        text = self.text = _inside_string(self.text)
        # Halves of an emoji come escaped, or raw where a client let them through.
        needs_mending = "\\u" in text or well_formed(text) is not text
        begin = tried = 0
        while tried < MAX_TRIED and (opening := OPENING.search(text, begin)):
            start = opening.start()
            if not may_begin(text, start):
                begin = start + 1
                continue
            try:
                value, begin = DECODER.raw_decode(text, start)
                document: Document | None = Document(value)
            except RecursionError:
                self._fail("it is nested too deeply", start)
                return
            except ValueError as error:
                reached = getattr(error, "pos", start)
                tried += 1
                if not begins_document(text, start):
                    begin = start + 1
                    self.problem = self.problem or str(error)
                    continue
                document, begin = self._broken(start)
                if document is None:
                    self._fail(self.problem or str(error), reached)
            if document is not None:
                self.problem = ""
                self.rest = text[begin:]
                value = mended(document.value) if needs_mending else document.value
                yield document._replace(value=value)

    def _broken(self, start: int) -> tuple[Document | None, int]:
        """Return what can be read of a broken document, and where to go on."""
        self.problem = ""
        scan = scan_document(self.text, start)
        if scan.is_too_deep:
            self.problem = "it is nested too deeply"
            return None, len(self.text)
        if scan.end is not None:
            value = read_broken(self.text[start : scan.end])
            document = Document(value, is_strict=False, note="repaired its JSON")
            return None if value is None else document, scan.end
        self.is_open = True
        value = read_cut(scan)
        note = "kept what was whole of a cut answer"
        document = Document(value, is_strict=False, is_cut=True, note=note)
        return None if value is None else document, len(self.text)

    def _fail(self, problem: str, position: int) -> None:
        self.problem, self.position = problem, position


def _inside_string(text: str) -> str:
    """Return the text inside, where a text is a JSON string of an object."""
    for _ in range(2):
        stripped = text.strip()
        if not (stripped.startswith('"') and "{" in stripped):
            break
        try:
            text = str(json.loads(stripped, strict=False))
        except ValueError:
            break
    return text


MAX_DEPTH = 8
"""Greatest depth to which the material is read."""


class Quotable:
    """The JSON that an answer may quote from its prompt. Looked for when first asked."""

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
        return value in self._documents or all(
            isinstance(each, Mapping) and self.has(each) for each in value
        )

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
