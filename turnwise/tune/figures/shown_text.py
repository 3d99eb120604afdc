"""Untrusted text, made fit to stand in a figure: shown as it is, obeyed by nobody.

Ids, node names, knob values and replies come from files and models. Matplotlib reads
`$...$` as a formula; plotly reads `<b>` as bold, `<a href>` as a link and, where a page
has MathJax, `$...$` as LaTeX. SVG cannot hold control characters at all. Every text of
outside goes through one of these functions, exactly once, where it is drawn.
"""

import unicodedata

__all__ = ["MAX_NAME_CHARS", "for_matplotlib", "for_plotly", "plain_line"]

MAX_NAME_CHARS = 40
"""How much of a name is drawn."""

_JOINERS = "\u200c\u200d"
_WRITTEN_ANEW = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


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
    if len(read) == len(text) and _width(line) <= max_chars:
        return line
    kept = line[: max_chars - 1]
    while _width(kept) > max_chars - 1:
        kept = kept[:-1]
    return kept + "…"


def _width(line: str) -> int:
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


def for_matplotlib(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a text that matplotlib draws letter by letter, also where it holds `$`."""
    return plain_line(text, max_chars).replace("$", r"\$")


def for_plotly(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Return a text that plotly draws letter by letter, also where it holds `<` or `$`."""
    return plain_line(text, max_chars).translate(_WRITTEN_ANEW)
