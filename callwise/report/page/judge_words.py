"""The judge's reasons from a run's recording, where a turn's own record has none.

The recording is optional: one that is missing, or cannot be read, leaves the reasons out.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from callwise.recordings.cassette_inspection import readable_exchanges
from callwise.report.page.plain import mapping, text
from callwise.report.run_record import RunRecord

__all__ = ["recorded_words", "spoken"]

MAX_WORDS_CHARS = 4_000
"""Most characters that are kept of one answer."""

_NAMES = frozenset({"reason", "reasons", "rationale", "critique", "comment", "words"})


def cassette_of(record: RunRecord) -> Path | None:
    """Return the recording that a run played or made; None when it is not found."""
    folder = record.folder
    named = text(mapping(record.manifest.get("identity")).get("cassette"))
    places = [folder / "cassette.jsonl"]
    if named and "\0" not in named:
        places = [Path(named), folder / Path(named).name, *places]
    for place in places:
        try:
            if place.is_file():
                return place
        except OSError:
            continue
    return None


def _said(value: Any) -> Iterator[str]:
    """Yield the texts under a name for reasons, in reading order."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, Mapping):
            for name, inner in here.items():
                if name in _NAMES and isinstance(inner, str) and inner.strip():
                    yield inner
            waiting += reversed([each for each in here.values() if isinstance(each, dict | list)])
        elif isinstance(here, list):
            waiting += reversed(here)


def spoken(answer: str) -> str:
    """Return a judge's reasons in an answer, or all of it where it has none."""
    try:
        words = "\n".join(_said(json.loads(answer)))
    except (ValueError, RecursionError):
        words = ""
    words = words or answer
    return words if len(words) <= MAX_WORDS_CHARS else words[: MAX_WORDS_CHARS - 1] + "…"


def _answers(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield key, scope and answer of each judge's exchange."""
    for exchange in readable_exchanges(path):
        answer = text(mapping(exchange.get("reply")).get("text"))
        if answer and exchange.get("role") == "judge":
            yield text(exchange.get("key")), text(exchange.get("scope")), answer


def recorded_words(record: RunRecord, calls: list[Mapping[str, Any]]) -> list[str]:
    """Return the reasons in each call, from the recording; empty where it has none.

    `calls` are ledger lines as plain JSON. Of equal calls the one of the same scope answers,
    then the oldest.
    """
    path = cassette_of(record) if calls else None
    if path is None:
        return [""] * len(calls)
    wanted = {text(call.get("key")) for call in calls}
    by_scope: dict[tuple[str, str], deque[str]] = defaultdict(deque)
    by_key: dict[str, str] = {}
    try:
        for key, scope, answer in _answers(path):
            if key in wanted:
                by_scope[key, scope].append(answer)
                by_key.setdefault(key, answer)
    except OSError:
        return [""] * len(calls)
    found = []
    for call in calls:
        key = text(call.get("key"))
        mine = by_scope[key, text(call.get("scope"))]
        answer = mine.popleft() if mine else by_key.get(key, "")
        found.append(spoken(answer) if answer else "")
    return found
