"""How many columns of a monospaced font a text takes, and how to cut it to some."""

import unicodedata

__all__ = ["columns_of", "cut_to_columns"]


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def columns_of(text: str) -> int:
    """Return how many columns a line takes: two for a wide character, none for a mark on one."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut_to_columns(text: str, max_columns: int) -> str:
    """Return a line, cut with an ellipsis where it takes more columns than that.

    Args:
        text: one line.
        max_columns: at least 1.
    """
    # Marks take no column, but a pile of them is as high as a text is long.
    max_chars = 4 * max_columns
    if len(text) <= max_chars and columns_of(text) <= max_columns:
        return text
    kept, columns = 0, 1
    for char in text[:max_chars]:
        columns += _columns(char)
        if columns > max_columns:
            break
        kept += 1
    return text[:kept] + "…"
