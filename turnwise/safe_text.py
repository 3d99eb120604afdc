"""Untrusted text made fit to be shown: odd characters become visible, markup stays text."""

import html
import re

__all__ = ["printable", "shown", "shown_html"]

_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters, marks that turn the direction of text, invisible ones, lone surrogates.

The page's script has the same list; the joiners of emoji and of some scripts are not in it.
"""


def shown(text: str) -> str:
    """Return a text with its odd characters as `⟨U+202E⟩`."""
    return _ODD.sub(lambda mark: f"⟨U+{ord(mark[0]):04X}⟩", text.replace("\r\n", "\n"))


def shown_html(text: str) -> str:
    """Return a text fit to stand in HTML, in an element or in a quoted attribute."""
    return html.escape(shown(text), quote=True)


def printable(text: str) -> str:
    """Return a text in one line, without characters that a terminal would obey."""
    return "".join(mark if mark.isprintable() else "\ufffd" for mark in text)
