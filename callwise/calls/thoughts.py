"""A model's thoughts, set apart from its answer, since they contain drafts of it."""

import re

from callwise.calls.loose_json import (
    DECODER,
    MAX_REPAIRED_CHARS,
    OPENING,
    begins_document,
    may_begin,
    scan_document,
)

__all__ = ["split_thoughts"]

MAX_DRAFTS = 8
"""How many documents before a tag are looked at, to see whether the tag is inside of one."""

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
