"""JSON documents in the text of an answer, whatever a model wrote around or into them.

In this order: thoughts are set apart, since they hold drafts; whole documents are read as
JSON; what only looks like JSON (trailing commas, comments, Python's spelling, typographic
quotes) is read by json-repair; and of a document that was cut off, what is whole is kept.
A cut text or list entry never counts as whole. Nothing is ever evaluated.

The result depends on the arguments alone, so a replay reads what the run read.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from turnwise.calls.payload import mended, well_formed

__all__ = [
    "MAX_ANSWER_CHARS",
    "Document",
    "FoundDocuments",
    "embedded_json",
    "excerpt",
    "find_documents",
    "split_thoughts",
    "was_cut",
]

MAX_ANSWER_CHARS = 1_000_000
"""Longest answer that is read, in characters."""

MAX_REPAIRED_CHARS = 100_000
"""Longest broken document that is repaired, in characters: at most about a second of work."""

MAX_TRIED = 32
"""How many brackets are tried as the start of a broken document; bounds the work on nonsense."""

MAX_DRAFTS = 8
"""How many documents before a tag are looked at, to see whether the tag is inside of one."""

MAX_DEPTH = 64
"""Deepest nesting of a broken document that is repaired."""

MAX_EXCERPT_CHARS = 400
"""Longest part of an answer that is quoted back, in characters."""

_CUT_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})

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

_OPENING = re.compile(r"[{\[]")
_STRICT_START = re.compile(r"\{\s*[\"}]|\[\s*(?:[\[{\"\d\-\]]|true|false|null|NaN|Infinity)")
_LIST_START = re.compile(r"\[\s*")
_OBJECT_START = re.compile(
    r"\{(?>[\s,]+|//[^\n]{0,400}\n|#[^\n]{0,400}\n|/\*[^*]{0,400}\*/)*+"
    r"(?:[\"'\u201c\u201d\u2018\u2019\u201e\u00ab][^\"\u201c\u201d\n:\uff1a]{1,80}[\"'\u201c\u201d\u2018\u2019\u00bb]"
    r"|[\w$-]{1,80})\s*[:\uff1a]",
    re.DOTALL,
)
"""How a broken object begins, in contrast to a brace in prose: with a key and a colon."""

_MARK = re.compile(r"[\"'\u201c\u2018{}\[\],:\uff1a\uff0c#/]")
_CLOSING_QUOTES = {
    '"': re.compile(r'"'),
    "'": re.compile(r"'"),
    "\u201c": re.compile('[\u201d"\u201c]'),
    "\u2018": re.compile("[\u2019']"),
}
_AFTER_STRING = re.compile(r"\s*(?:[,:}\]\uff1a\uff0c#]|//|/\*|\Z)")
_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n(?P<text>.*?)\n?\s*(?:```\s*)?\Z", re.DOTALL)
_PLACEHOLDER = re.compile(r":\s*(?:<[^<>\n]{1,60}>|\.\.\.|…)")
"""A value that describes a form and answers nothing."""

_WIDE_COLON = re.compile(r"([\"'\u201d])\s*\uff1a\s*")
_WIDE_COMMA = re.compile(r"([\"'\u201d\d\]}el])\s*\uff0c\s*(?=[\"'\u201c{\[])")


class Document(NamedTuple):
    """One JSON object or list that was found in an answer.

    Args:
        value: the document.
        is_strict: whether it is JSON as it was written.
        is_cut: whether its end is missing, and what was not whole is left out.
        note: what had to be done to read it; blank when nothing.
    """

    value: Any
    is_strict: bool = True
    is_cut: bool = False
    note: str = ""


class FoundDocuments(NamedTuple):
    """The documents of an answer.

    Args:
        documents: in the order of the text.
        problem: why there is none, or none after the last one; blank when there is no reason.
        is_cut: whether the answer ended before its end.
        excerpt: a short part of the answer without its thoughts, where the problem is.
    """

    documents: tuple[Document, ...]
    problem: str
    is_cut: bool
    excerpt: str


def was_cut(finish_reason: str | None) -> bool:
    """Return whether an answer ended because there was no room for more of it."""
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


def _not_a_number(_constant: str) -> float:
    return float("nan")


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= 400 else float("nan")


# Raw line breaks in strings are read. NaN and infinity are kept for the reader of numbers
# to refuse, so that one of them does not cost the whole answer.
_DECODER = json.JSONDecoder(parse_constant=_not_a_number, parse_int=_whole_number, strict=False)


def embedded_json(text: str) -> Any:
    """Return the JSON list or object that a string holds, or None when it holds none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value, end = _DECODER.raw_decode(text.strip())
    except (ValueError, RecursionError):
        return None
    return value if end == len(text.strip()) else None


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
        bracket = _OPENING.search(text, place, tag.start()) if tried < MAX_DRAFTS else None
        if bracket is not None and _may_begin(text, bracket.start()):
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


def _may_begin(text: str, start: int) -> bool:
    """Return whether a bracket may begin a document, whole or broken, and is not prose."""
    return bool(_STRICT_START.match(text, start)) or _begins_document(text, start)


def _extent(text: str, start: int, tag: int) -> tuple[bool, int | None]:
    """Return whether a tag is inside of what begins at a bracket, and where that ends.

    The end is None where a document does not end, and the place of the tag where the tag is
    no part of it.
    """
    try:
        end = _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        if not _begins_document(text, start):
            return False, start + 1
        before = _scan(text[:tag], start)
        if before.end is not None or not before.is_in_string:
            return False, before.end or tag
        window = _scan(text[: start + MAX_REPAIRED_CHARS], start)
        return True, window.end
    return end > tag, end


def _begins_document(text: str, start: int) -> bool:
    """Return whether a bracket begins what may be a broken document, and is not prose."""
    if text[start] == "[":
        inner = _LIST_START.match(text, start)
        return inner is not None and _OBJECT_START.match(text, inner.end()) is not None
    return _OBJECT_START.match(text, start) is not None


def find_documents(text: str, *, is_cut: bool = False) -> FoundDocuments:
    """Return the JSON documents of an answer.

    Thoughts count only where there is no document outside of them, and the answer was not
    cut off: a model that was cut while it thought has not answered.

    Args:
        text: the answer. Untrusted; parsed and never evaluated.
        is_cut: whether it ended for want of room; see `was_cut`.
    """
    if len(text) > MAX_ANSWER_CHARS:
        problem = f"it has {len(text)} characters, more than {MAX_ANSWER_CHARS}"
        return FoundDocuments((), problem, is_cut, excerpt(text))
    visible, thoughts = split_thoughts(text.removeprefix("\ufeff"))
    search = _Search(visible)
    documents = tuple(search.documents())
    if not documents and thoughts and not is_cut and not search.problem:
        documents = tuple(
            document._replace(note="read from the thoughts")
            for document in _Search(thoughts).documents()
            if document.is_strict
        )
    problem = search.problem or ("" if documents else "there is no JSON object in it")
    part = excerpt(search.text, search.position)
    return FoundDocuments(documents[-MAX_TRIED:], problem, is_cut or search.is_open, part)


class _Search:
    """The search for documents in a text without thoughts.

    Attributes:
        text: the text, without a code fence around it.
        problem: why a document could not be read; blank when each could.
        position: where in the text, or None.
        is_open: whether the text ended inside a document.
    """

    def __init__(self, text: str) -> None:
        fenced = _FENCE.match(text)
        self.text = text if fenced is None else fenced["text"]
        self.problem = ""
        self.position: int | None = None
        self.is_open = False

    def documents(self) -> Iterator[Document]:
        """Yield the documents in their order, none from inside another."""
        text = self.text = _inside_string(self.text)
        # Halves of an emoji come escaped, or raw where a client let them through.
        needs_mending = "\\u" in text or well_formed(text) is not text
        begin = tried = 0
        while tried < MAX_TRIED and (opening := _OPENING.search(text, begin)):
            start = opening.start()
            if not _may_begin(text, start):
                begin = start + 1
                continue
            try:
                value, begin = _DECODER.raw_decode(text, start)
                document: Document | None = Document(value)
            except RecursionError:
                self._fail("it is nested too deeply", start)
                return
            except ValueError as error:
                reached = getattr(error, "pos", start)
                tried += 1
                if not _begins_document(text, start):
                    begin = start + 1
                    self.problem = self.problem or str(error)
                    continue
                document, begin = self._broken(start)
                if document is None:
                    self._fail(self.problem or str(error), reached)
            if document is not None:
                self.problem = ""
                value = mended(document.value) if needs_mending else document.value
                yield document._replace(value=value)

    def _broken(self, start: int) -> tuple[Document | None, int]:
        """Return what can be read of a broken document, and where to go on."""
        self.problem = ""
        scan = _scan(self.text, start)
        if scan.is_too_deep:
            self.problem = "it is nested too deeply"
            return None, len(self.text)
        if scan.end is not None:
            return _repaired(self.text[start : scan.end]), scan.end
        self.is_open = True
        whole = scan.whole_part()
        return None if whole is None else _closed(whole), len(self.text)

    def _fail(self, problem: str, position: int) -> None:
        self.problem, self.position = problem, position


def _inside_string(text: str) -> str:
    """Return the text inside, where a text is a JSON string that holds an object."""
    for _ in range(2):
        stripped = text.strip()
        if not (stripped.startswith('"') and "{" in stripped):
            break
        try:
            text = str(json.loads(stripped, strict=False))
        except ValueError:
            break
    return text


def _closed(text: str) -> Document | None:
    """Return what is whole of a document that was cut off; None when nothing is."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        repaired = _repaired(text)
        value = None if repaired is None else repaired.value
    note = "kept what was whole of a cut answer"
    return Document(value, is_strict=False, is_cut=True, note=note) if value else None


def _repaired(text: str) -> Document | None:
    """Return a broken document as json-repair reads it, or None when it cannot."""
    if len(text) > MAX_REPAIRED_CHARS or _PLACEHOLDER.search(text):
        return None
    # Loaded here, since most answers are JSON.
    from json_repair import loads  # noqa: PLC0415

    text = _WIDE_COMMA.sub(r"\1, ", _WIDE_COLON.sub(r"\1: ", text))
    try:
        value = loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict | list) or not value:
        return None
    return Document(value, is_strict=False, note="repaired its JSON")


@dataclass(slots=True)
class _Frame:
    """An open bracket.

    Args:
        opener: the bracket.
        start: its position.
        whole_end: where its last whole entry ends; right after the bracket when none does.
        has_key: whether a key was read whose value is not whole yet.
    """

    opener: str
    start: int
    whole_end: int
    has_key: bool = False

    def end_entry(self, end: int) -> None:
        self.whole_end = end
        self.has_key = False


@dataclass(slots=True)
class _Scan:
    """The brackets and strings of a document that need not be JSON.

    Args:
        text: the text that it is part of.
        start: where it begins.
        end: where it ends, or None when the text ends before.
        frames: the brackets that are open where the text ends, outermost first.
        is_in_string: whether the text ends inside a string.
        is_too_deep: whether it is nested deeper than `MAX_DEPTH`.
    """

    text: str
    start: int
    end: int | None = None
    frames: list[_Frame] = field(default_factory=list)
    is_in_string: bool = False
    is_too_deep: bool = False

    @property
    def is_open(self) -> bool:
        """Whether there is more of it to look at."""
        return self.end is None and not (self.is_in_string or self.is_too_deep)

    def take(self, sign: str, at: int) -> None:
        """Take a bracket, a comma or a colon outside of strings."""
        frames = self.frames
        if sign in "{[":
            frames.append(_Frame(sign, at, at + 1))
            self.is_too_deep = len(frames) > MAX_DEPTH
        elif sign in "}]":
            opener = "{" if sign == "}" else "["
            if any(frame.opener == opener for frame in frames):
                while frames.pop().opener != opener:
                    pass
            if not frames:
                self.end = at + 1
            else:
                frames[-1].end_entry(at + 1)
        elif sign in ",\uff0c":
            frames[-1].end_entry(at)
        elif sign in ":\uff1a":
            frames[-1].has_key = True

    def end_text(self, end: int) -> None:
        """Take a string that ends at a place."""
        frame = self.frames[-1]
        if frame.opener == "[" or frame.has_key:
            frame.whole_end = end

    def whole_part(self) -> str | None:
        """Return the document without what was cut off, closed; None when nothing is left.

        In the innermost open list the last entry was cut and is left out, with all that is
        open inside of it. Without an open list, the member that was cut is left out.
        """
        frames = list(self.frames)
        lists = [place for place, frame in enumerate(frames) if frame.opener == "["]
        if lists:
            del frames[lists[-1] + 1 :]
        while len(frames) > 1 and frames[-1].opener == "[" and _is_empty(frames[-1]):
            frames.pop()
        if len(frames) == 1 and _is_empty(frames[0]):
            return None
        closers = "".join("}" if frame.opener == "{" else "]" for frame in reversed(frames))
        return self.text[self.start : frames[-1].whole_end] + closers


def _is_empty(frame: _Frame) -> bool:
    return frame.whole_end == frame.start + 1


def _scan(text: str, start: int) -> _Scan:
    """Return the extent of the document that begins with the bracket at `start`.

    A quote ends a string only where what may follow a string follows, so that quotes inside
    of texts, which models forget to escape, do not end them.
    """
    scan = _Scan(text, start)
    place = start
    while scan.is_open and (mark := _MARK.search(text, place)):
        sign, place = mark.group(), mark.end()
        if sign in "#/":
            place = _end_of_comment(text, mark.start())
        elif sign == '"' or (sign in _CLOSING_QUOTES and _opens_string(text, mark.start(), start)):
            closing = _end_of_string(text, place, sign)
            if closing is None:
                scan.is_in_string = True
            else:
                scan.end_text(closing)
                place = closing
        else:
            scan.take(sign, mark.start())
    return scan


def _opens_string(text: str, at: int, start: int) -> bool:
    """Return whether a single or typographic quote stands where a string may begin."""
    place = at - 1
    while place > start and text[place].isspace():
        place -= 1
    return text[place] in "{[,:\uff1a\uff0c"


def _end_of_string(text: str, begin: int, quote: str) -> int | None:
    for closing in _CLOSING_QUOTES[quote].finditer(text, begin):
        place = closing.start()
        backslashes = 0
        while place - backslashes > begin and text[place - backslashes - 1] == "\\":
            backslashes += 1
        if backslashes % 2 == 0 and _AFTER_STRING.match(text, closing.end()):
            return closing.end()
    return None


def _end_of_comment(text: str, at: int) -> int:
    """Return where the comment at a place ends; one character on when there is none."""
    if text.startswith("/*", at):
        end = text.find("*/", at)
        return len(text) if end < 0 else end + 2
    if text[at] == "#" or text.startswith("//", at):
        end = text.find("\n", at)
        return len(text) if end < 0 else end
    return at + 1
