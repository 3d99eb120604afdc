"""Prompts and answers of a run's calls, from its recording.

A run records into its folder unless it plays or records another file. A recording that is
missing, or cannot be read, leaves prompts and answers out, with a notice of how to record.
"""

import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callwise.calls.answer_text import find_documents, was_cut
from callwise.calls.call import Outcome
from callwise.calls.errors import CallwiseError
from callwise.recordings.cassette_inspection import readable_exchanges
from callwise.recordings.shared_lines import whole_prompt
from callwise.report.page.plain import facts_of, items, mapping, text
from callwise.report.run_record import RawLine, RunRecord

__all__ = ["NOTHING_RECORDED", "RecordedCall", "RecordedCalls", "cassette_of", "recorded_calls"]

_NOT_SENT = frozenset({Outcome.REFUSED.value})


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """The prompt and the answer of one call, as recorded. All of it is untrusted.

    Args:
        messages: role and text of each message; of an embedding, its texts.
        settings: the call's settings, such as its temperature.
        answer: the text of the answer; empty where there is none.
        tool_calls: calls of tools in the answer, as JSON; empty for none.
        finish_reason: why the model stopped; empty where not known.
    """

    messages: tuple[tuple[str, str], ...]
    settings: Mapping[str, Any]
    answer: str
    tool_calls: str
    finish_reason: str

    @property
    def parsed(self) -> str | None:
        """The JSON document in the answer, as JSON; None where the answer is one itself.

        It is what the reader takes up: values are brought to their types after that, and the
        call's notes list what had to be mended. Empty where there is none in the answer.
        """
        if not self.answer:
            return None
        try:
            json.loads(self.answer)
        except (ValueError, RecursionError):
            found = find_documents(self.answer, is_cut=was_cut(self.finish_reason or None))
        else:
            return None
        if not found.documents:
            return "" if "response_model" in self.settings else None
        return _as_json(found.documents[-1].value)


_Exchange = Mapping[str, Any]
"""An exchange whose prompt is not put together: prompts of a long run are many times its file."""

NOTHING_RECORDED = RecordedCall((), {}, "", "", "")


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError, TypeError):
        return "nested too deeply to be shown"


def _message(raw: Any) -> tuple[str, str]:
    message = mapping(raw)
    content = message.get("content")
    others = {name: value for name, value in message.items() if name not in {"role", "content"}}
    words = content if isinstance(content, str) else "" if content is None else _as_json(content)
    if others:
        words = f"{words}\n{_as_json(others)}" if words else _as_json(others)
    return text(message.get("role")) or "message", words


def _call_of(exchange: Mapping[str, Any]) -> RecordedCall:
    reply = mapping(exchange.get("reply"))
    messages = [_message(each) for each in items(exchange.get("messages"))]
    messages += [("text", text(each)) for each in items(exchange.get("inputs"))]
    tools = items(reply.get("tool_calls"))
    return RecordedCall(
        tuple(messages),
        dict(facts_of(mapping(exchange.get("settings")))),
        text(reply.get("text")),
        _as_json(tools) if tools else "",
        text(reply.get("finish_reason")),
    )


def cassette_of(record: RunRecord) -> Path | None:
    """Return the recording that a run played or made; None when it is not found."""
    folder = record.folder
    named = text(mapping(record.manifest.get("identity")).get("cassette"))
    places = [folder / "cassette.jsonl"]
    if named and "\0" not in named:
        # Not from another machine: a run's folder may come from anywhere.
        elsewhere = [] if named.startswith(("//", "\\\\")) else [Path(named)]
        places = [*elsewhere, folder / Path(named).name, *places]
    for place in places:
        try:
            if place.is_file():
                return place
        except OSError:
            continue
    return None


class RecordedCalls:
    """The recorded calls of a run, by its ledger's lines.

    Args:
        rows: the lines of the ledger as plain JSON, each of which may be asked for once.
        path: the recording; None for none.
    """

    def __init__(self, rows: tuple[RawLine, ...], path: Path | None) -> None:
        self.notice = ""
        """Reason why prompts are missing, and how to have them; empty where they are there."""
        self._shared: dict[str, dict[str, Any]] = {}
        self._by_scope: dict[tuple[str, str], deque[_Exchange]] = defaultdict(deque)
        self._by_key: dict[str, _Exchange] = {}
        self._by_place: dict[tuple[str, str], deque[_Exchange]] = defaultdict(deque)
        problem = "there is no recording of it" if path is None else self._read(rows, path)
        wanted = any(text(row.get("outcome")) not in _NOT_SENT for row in rows)
        if not problem and wanted and not self._by_key and not self._by_place:
            problem = "its recording has none of its calls"
        if problem and wanted:
            self.notice = (
                f"Prompts and answers of this run are not shown: {problem}. A run records into "
                "its folder (cassette.jsonl), or where --record names: run `callwise replay "
                "CONVERSATIONS --record calls.jsonl --out DIR`, and keep both files."
            )

    def _read(self, rows: tuple[RawLine, ...], path: Path) -> str:
        """Read a recording; return why it cannot be read, or nothing."""
        wanted = {text(row.get("key")) for row in rows} - {""}
        has_other_keys = False
        try:
            for exchange in readable_exchanges(path, shared=self._shared):
                if "callwise_cassette" in exchange:
                    has_other_keys = bool(exchange.get("normalise"))
                    continue
                key, scope = text(exchange.get("key")), text(exchange.get("scope"))
                if key in wanted:
                    self._by_scope[key, scope].append(exchange)
                    self._by_key.setdefault(key, exchange)
                elif has_other_keys:
                    place = scope, text(exchange.get("purpose"))
                    self._by_place[place].append(exchange)
        except (OSError, CallwiseError):
            return f"its recording {path.name!r} cannot be read"
        return ""

    def of(self, row: RawLine) -> RecordedCall | None:
        """Return the recorded call of a line; None where there is none.

        Of equal calls the one of the same scope answers, then the oldest. A recording with
        normalisers has other keys: there the next call of the scope with the same purpose does.
        """
        exchange = self._exchange_of(row)
        if exchange is None:
            return None
        try:
            return _call_of(whole_prompt(dict(exchange), self._shared.__getitem__))
        except (LookupError, ValueError):  # a damaged line that several prompts share
            return _call_of({**exchange, "messages": []})

    def _exchange_of(self, row: RawLine) -> _Exchange | None:
        key, scope = text(row.get("key")), text(row.get("scope"))
        if key and (mine := self._by_scope.get((key, scope))):
            return mine.popleft()
        if key in self._by_key:
            return self._by_key[key]
        if text(row.get("outcome")) in _NOT_SENT:
            return None
        others = self._by_place.get((scope, text(row.get("purpose"))))
        return others.popleft() if others else None


def recorded_calls(record: RunRecord) -> RecordedCalls:
    """Return the recorded calls of a run that was read with its raw lines."""
    return RecordedCalls(record.raw_rows, cassette_of(record))
