"""Untrusted text made safe to show: in a terminal, in JSON, in HTML; and its width.

Text of a run (ids, names, replies, errors) may contain what a terminal obeys, what reverses
reading, or markup. It passes one of these functions once, where it is shown.
"""

import html
import re

__all__ = [
    "clipped",
    "cut_to_width",
    "escaped_json",
    "is_one_line",
    "printable",
    "printable_lines",
    "shown",
    "shown_html",
    "text_width",
    "without_joiners",
]

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""Control characters but tab and newline, lone surrogates, marks that reverse or break reading."""

_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, marks that turn the direction of text, invisible ones, lone surrogates.

The page's script has the same list; the joiners of emoji and of some scripts are not in it.
"""


_HEAD_SHARE = 0.7
"""Share of a clipped text that is its beginning; the rest is its end."""


def clipped(text: str, max_chars: int) -> str:
    """Return a text's head and tail with a mark between, where it is longer than `max_chars`.

    The mark contains the length of the text, and is counted.
    """
    if len(text) <= max_chars:
        return text
    mark = f" […{len(text)}…] "
    kept = max(max_chars - len(mark), 0)
    head = int(kept * _HEAD_SHARE)
    return f"{text[:head]}{mark}{text[len(text) - (kept - head) :]}"


def without_joiners(text: str) -> str:
    """Return a text without the two marks that join its characters, or keep them apart."""
    return text.replace("\u200c", "").replace("\u200d", "")


def is_one_line(name: str) -> bool:
    """Return whether a name has no line breaks and no control characters or invisible ones.

    Joiners within it are parts of emoji and of some scripts.
    """
    ends = name[:1] + name[-1:]
    return without_joiners(ends) == ends and without_joiners(name).isprintable()


def printable(text: str) -> str:
    """Return a text in one line, without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def printable_lines(text: str) -> str:
    """Return a text, lines and tabs kept, without the characters that a terminal would obey."""
    return _CONTROLS.sub("\ufffd", text)


def escaped_json(text: str) -> str:
    """Return JSON whose unescaped control characters are escaped."""
    return _CONTROLS.sub(lambda char: f"\\u{ord(char[0]):04x}", text)


def shown(text: str) -> str:
    """Return a text with its odd characters as `⟨U+202E⟩`."""
    return _ODD.sub(lambda char: f"⟨U+{ord(char[0]):04X}⟩", text.replace("\r\n", "\n"))


def shown_html(text: str) -> str:
    """Return a text for HTML, in an element or in a quoted attribute."""
    return html.escape(shown(text), quote=True)


def text_width(line: str) -> int:
    """Return how many columns of a terminal a line takes.

    Two for a wide character, none for a combining mark; characters that are joined (a family
    of emoji, a flag) count as the one that is drawn.
    """
    if line.isascii():
        return len(line)
    from rich.cells import cell_len  # noqa: PLC0415 - most lines are ASCII

    return cell_len(line)


def cut_to_width(line: str, max_columns: int) -> str:
    """Return a line, cut with an ellipsis where it takes more than `max_columns`, at least 1."""
    # Marks take no column, but a pile of them is as high as a text is long.
    max_chars = 4 * max_columns
    kept = line[:max_chars]
    if len(kept) == len(line) and text_width(line) <= max_columns:
        return line
    while text_width(kept) > max_columns - 1:
        kept = kept[:-1]
    return kept + "…"
