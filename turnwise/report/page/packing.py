"""The page put together: one file, its data packed, and a policy that lets nothing else run.

Three things keep foreign text from running, each enough alone:

1. The data is a packed block in an element that is never a script, and the script that
   reads it makes text nodes only.
2. Text that the file holds as HTML is escaped (`shown_text`).
3. The policy allows this very script and this very style, by their digests, and no
   request, no frame, no form, no other script, whatever stands in the page.

The data is packed because texts are large: gzip, then base64, read by the browser's own
`DecompressionStream`. Where a browser has none, or no script runs, the totals are there
as HTML.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

__all__ = ["SCRIPTS", "assembled", "json_for_html", "packed", "policy_of", "script_text"]

SCRIPTS = (
    "dom.js",
    "timeline.js",
    "tree.js",
    "turn.js",
    "list.js",
    "chart.js",
    "keys.js",
    "main.js",
)
"""The rooms of the page's script, in the order in which they are put together."""

_PLACE = re.compile(r"\[\[([a-z]+)\]\]")
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def _asset(name: str) -> str:
    return (files("turnwise.report.page") / "assets" / name).read_text(encoding="utf-8")


def script_text() -> str:
    """Return the page's script: all of its rooms in one function."""
    rooms = "\n".join(map(_asset, SCRIPTS))
    return f'(() => {{\n"use strict";\n{rooms}}})();'


def json_for_html(value: Any) -> str:
    """Return JSON that ends no element and starts none, wherever in HTML it stands."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_ESCAPES)


def packed(document: Mapping[str, Any]) -> str:
    """Return a document as the page's data block: JSON that holds it packed.

    Lone surrogates come through as the escapes that JSON has for them.
    """
    plain = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = gzip.compress(plain.encode("utf-8", "backslashreplace"), 9, mtime=0)
    return json_for_html(
        {"encoding": "gzip+base64", "data": base64.b64encode(data).decode("ascii")}
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def policy_of(script: str, style: str) -> str:
    """Return the content security policy of a page with this script and style."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{_digest(script)}'",
            f"style-src 'sha256-{_digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def assembled(parts: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        parts: HTML for the template's places `title`, `simulated`, `name`, `about` and
            `overview`, and `data` from `packed`. What stands in a part is not looked at again.
    """
    script, style = script_text(), _asset("page.css")
    whole = {**parts, "script": script, "style": style, "policy": policy_of(script, style)}
    return _PLACE.sub(lambda place: whole[place[1]], _asset("page.html"))
