"""Untrusted text as one line that a figure can contain.

Ids, node names, knob values and replies come from files and models. Vega draws a text letter
by letter, but SVG cannot contain control characters, and a mark that turns the direction of text
would reorder what is around it. Each such text passes `plain_line` once, where a chart takes it.
"""

import unicodedata

__all__ = ["plain_line", "text_columns"]

MAX_NAME_CHARS = 40
"""How much of a name is drawn."""

_JOINERS = "\u200c\u200d"


def plain_line(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a text as one line, cut with an ellipsis where it is too wide.

    Control characters count as spaces, marks that turn the direction of text are left
    out, and what no file can hold becomes the replacement character.

    Args:
        text: anything.
        max_chars: at least 1. A wide character, such as a Chinese one, counts as two.
    """
    # What is cut off is not read: a text may be a megabyte long.
    read = text[: 8 * max_chars]
    line = " ".join("".join(map(_shown, read)).split())
    if len(read) == len(text) and text_columns(line) <= max_chars:
        return line
    kept = line[: max_chars - 1]
    while text_columns(kept) > max_chars - 1:
        kept = kept[:-1]
    return kept + "…"


def text_columns(line: str) -> int:
    """Return how many columns a line takes; a wide character, such as a Chinese one, takes two."""
    if line.isascii():
        return len(line)
    return sum(1 + (unicodedata.east_asian_width(char) in {"W", "F"}) for char in line)


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    category = unicodedata.category(char)
    if category == "Cf":
        return char if char in _JOINERS else ""
    return "\ufffd" if category in {"Cs", "Co", "Cn"} else " "
