"""A run's page: overview as HTML, data packed for the script, one file.

The overview is readable without a script. Three things keep foreign text from running, each
enough alone:

1. The data is a packed block in an element that is never a script, and the script that
   reads it makes text nodes only.
2. Text in the HTML is escaped (`safe_text`).
3. The policy allows this very script and this very style, by their digests, and no
   request, no frame, no form, no other script, whatever is in the page.

The data is packed because texts are large: gzip, then base64, read by the browser's own
`DecompressionStream`. Names that come from a run are never keys of an object in it, so no
lookup of the script uses a foreign name. The file is written whole, and replaces only a page.
"""

import base64
import gzip
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from callwise.calls.errors import ConfigError
from callwise.report.page.page_comparison import TurnPairing, differences, pair
from callwise.report.page.page_data import CALL_COLUMNS, PageRun, gather, turn_views
from callwise.report.page.page_overview import (
    NODE_COLOURS,
    node_hues,
    other_name,
    overview_html,
)
from callwise.report.page.plain import mapping, text
from callwise.report.page.text_store import TextStore
from callwise.safe_text import shown_html

__all__ = [
    "SCRIPTS",
    "WrittenPage",
    "document_of",
    "json_for_html",
    "packed",
    "page_of",
    "script_text",
    "write_page",
]


def _simulated(run: PageRun, pairing: TurnPairing | None) -> str:
    """Return the label of simulated results; empty where nothing was simulated."""
    names = ["This run is"] if run.record.is_simulated else []
    if pairing is not None and pairing.other.record.is_simulated:
        names = ["Both runs are"] if names else ["The other run is"]
    if not names:
        return ""
    return (
        f'<p class="simulated" role="note"><strong>Simulated.</strong> {names[0]} answered by '
        "a simulated model: that proves counting, not language.</p>"
    )


def _about(run: PageRun, pairing: TurnPairing | None) -> str:
    """Return the line about the run and the one that it is compared with."""
    manifest = run.record.manifest
    app = text(mapping(manifest.get("identity")).get("app"))
    parts = ["simulated" if run.record.is_simulated else ""]
    parts += [f"preset {run.preset}" if run.preset else "", app, text(manifest.get("started"))]
    if pairing is not None:
        preset = f" (preset {pairing.other.preset})" if pairing.other.preset else ""
        parts.append(f"compared with {pairing.other.name}{preset}")
    return " · ".join(shown_html(part) for part in parts if part)


VERSION = 2


def _run_json(run: PageRun, name: str, store: TextStore) -> dict[str, Any]:
    return {
        "name": name,
        "preset": run.preset,
        "simulated": run.record.is_simulated,
        "seconds": run.seconds,
        "missing": run.recorded.notice,
        "turns": turn_views(run, store),
    }


def document_of(run: PageRun, pairing: TurnPairing | None = None) -> dict[str, Any]:
    """Return the page's data; `pairing` is given where there is another run."""
    store, hues = TextStore(), node_hues(run, pairing)
    document: dict[str, Any] = {
        "version": VERSION,
        "call_columns": CALL_COLUMNS,
        "nodes": list(hues),
        "node_hues": list(hues.values()),
        "node_colours": NODE_COLOURS,
        "runs": [_run_json(run, run.name, store)],
        "is_compared": pairing is not None,
    }
    if pairing is not None:
        document["runs"].append(_run_json(pairing.other, other_name(pairing), store))
        _add_differences(document, run, pairing)
    document["texts"] = store.to_json()
    return document


def _add_differences(document: dict[str, Any], run: PageRun, pairing: TurnPairing) -> None:
    other = pairing.other
    for turn, view in zip(run.record.turns, document["runs"][0]["turns"], strict=True):
        place = pairing.other_place.get(turn.key)
        view["other"] = place
        if place is not None:
            view["differences"] = differences(
                turn,
                other.record.turns[place],
                run.calls[turn.key],
                other.calls[turn.key],
                is_reworded=turn.key in pairing.reworded,
            )


SCRIPTS = (
    "dom.js",
    "texts.js",
    "diff.js",
    "timeline.js",
    "tree.js",
    "call.js",
    "turn.js",
    "list.js",
    "chart.js",
    "keys.js",
    "main.js",
)
"""The parts of the page's script, in the order in which they are joined."""

_PLACE = re.compile(r"\[\[([a-z]+)\]\]")

_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def _asset(name: str) -> str:
    return (files("callwise.report.page") / "assets" / name).read_text(encoding="utf-8")


def script_text() -> str:
    """Return the page's script: all of its parts in one function."""
    parts = "\n".join(map(_asset, SCRIPTS))
    return f'(() => {{\n"use strict";\n{parts}}})();'


def json_for_html(value: Any) -> str:
    """Return JSON that ends and starts no element, anywhere in HTML."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_ESCAPES)


def packed(document: Mapping[str, Any]) -> str:
    """Return a document as the page's data block: packed, inside JSON.

    Lone surrogates come through as the escapes that JSON has for them.
    """
    plain = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = gzip.compress(plain.encode("utf-8", "backslashreplace"), 9, mtime=0)
    return json_for_html(
        {"encoding": "gzip+base64", "data": base64.b64encode(data).decode("ascii")}
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _policy_of(script: str, style: str) -> str:
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


def _assembled(parts: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        parts: HTML for the template's places `title`, `simulated`, `name`, `about` and
            `overview`, and `data` from `packed`. Parts are not searched for places.
    """
    script, style = script_text(), _asset("page.css")
    whole = {**parts, "script": script, "style": style, "policy": _policy_of(script, style)}
    return _PLACE.sub(lambda place: whole[place[1]], _asset("page.html"))


_START = b"<!doctype html>"


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page and its file.

    Args:
        turns: turns that it shows.
        paired_turns: those of them that are paired; None without another run.
        notices: remarks for the user about the reading.
    """

    file: Path
    size_bytes: int
    turns: int
    paired_turns: int | None
    notices: tuple[str, ...]


def page_of(folder: Path, against: Path | None = None) -> tuple[str, WrittenPage]:
    """Return the page of a run as HTML, and its size, turns and notices; its `file` is `folder`.

    `against` is the folder of a run to compare with.

    Raises:
        FormatError: when a folder is no run, or cannot be read.
        ConfigError: when no turn of the two runs pairs.
    """
    run = gather(folder)
    pairing = None if against is None else pair(run, gather(against))
    html = _assembled(
        {
            "title": shown_html(f"{run.name} - callwise report"),
            "simulated": _simulated(run, pairing),
            "name": shown_html(run.name),
            "about": _about(run, pairing),
            "overview": overview_html(run, pairing),
            "data": packed(document_of(run, pairing)),
        }
    )
    notices, paired = list(run.record.notices), None
    if pairing is not None:
        notices += [f"{against}: {notice}" for notice in pairing.other.record.notices]
        paired = len(pairing.keys)
    written = WrittenPage(folder, len(html.encode("utf-8")), len(run.keys), paired, tuple(notices))
    return html, written


def _check_place(file: Path) -> None:
    """Refuse a path that is not writable as a page, or that has something else."""
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent} to write {file.name} into; make it")
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; name a file in it, such as {file / 'report.html'}")
    if not file.exists():
        return
    if not file.is_file():
        raise ConfigError(f"{file} is no plain file; name another")
    with file.open("rb") as stream:
        start = stream.read(len(_START))
    if start and start.lower() != _START:
        raise ConfigError(f"{file} exists and is no page; name another file, or remove it")


def write_page(folder: Path, file: Path, *, against: Path | None = None) -> WrittenPage:
    """Write the page of a run.

    Args:
        folder: the run's folder.
        file: path of the page; an older page there is replaced in one step.
        against: the folder of a run to compare with.

    Raises:
        FormatError: when a folder is no run, or cannot be read.
        ConfigError: when no turn of the two runs pairs, or the page cannot be written there.
        OSError: when the disk is full; an older page is kept.
    """
    file = Path(file).resolve()
    _check_place(file)
    html, written = page_of(folder, against)
    part = file.parent / f".callwise-{os.getpid()}.part"
    part.unlink(missing_ok=True)  # a link of this name would be followed
    try:
        with part.open("xb") as stream:
            stream.write(html.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return replace(written, file=file)
