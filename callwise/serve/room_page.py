"""The page that shows a room: HTML, style and script in one document without data."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

__all__ = ["page_policy", "room_page"]

_PLACE = re.compile(r"\[\[([a-z]+)\]\]")
_REPORT_DOM = "dom.js"
"""Elements and foreign text, in common with the page of a report."""


def _asset(name: str) -> str:
    folder = "callwise.report.page" if name == _REPORT_DOM else "callwise.serve"
    return (files(folder) / "assets" / name).read_text(encoding="utf-8")


def _script() -> str:
    parts = "\n".join(map(_asset, (_REPORT_DOM, "room.js")))
    return f'(() => {{\n"use strict";\n{parts}}})();'


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@cache
def page_policy() -> str:
    """Return the page's content security policy: its own script, style and server."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{_digest(_script())}'",
            f"style-src 'sha256-{_digest(_asset('room.css'))}'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


@cache
def room_page() -> str:
    """Return the page. It is the same for all clients."""
    parts = {"script": _script(), "style": _asset("room.css")}
    return _PLACE.sub(lambda place: parts[place[1]], _asset("room.html"))
