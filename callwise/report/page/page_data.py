"""A run as the data of its page: turns, calls, prompts and answers; all of it unchecked text."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from callwise.calls.call import Outcome, Role
from callwise.report.page.plain import (
    MAX_FACT_CHARS,
    Fact,
    facts_of,
    figure,
    items,
    mapping,
    text,
)
from callwise.report.page.recorded_calls import (
    NOTHING_RECORDED,
    RecordedCall,
    RecordedCalls,
    recorded_calls,
)
from callwise.report.page.text_store import TextStore
from callwise.report.page.turn_search import search_of, spoken
from callwise.report.run_record import (
    CallLine,
    RawLine,
    RunRecord,
    TurnKey,
    TurnLine,
    calls_by_turn,
    load_run,
)
from callwise.report.run_tables import ReportTables, summarise
from callwise.report.table import Cell
from callwise.report.totals import UsageSums, sum_calls

__all__ = [
    "CALL_COLUMNS",
    "PageRun",
    "above_plan",
    "anchor_of",
    "call_rows",
    "gather",
    "plan_rows",
    "turn_views",
]


@dataclass(frozen=True, slots=True)
class PageRun:
    """A run, as the page needs it.

    Args:
        record: from `load_run`, with its raw lines.
        tables: from `summarise`; every total that the page shows is from here.
        calls: each finished turn's calls, in the ledger's order.
        raw_calls: the same lines of the ledger as plain JSON.
        recorded: prompts and answers of the calls.
    """

    record: RunRecord
    tables: ReportTables
    calls: Mapping[TurnKey, Sequence[CallLine]]
    raw_calls: Mapping[TurnKey, Sequence[RawLine]]
    recorded: RecordedCalls

    @property
    def name(self) -> str:
        """The folder's own name. Untrusted."""
        return self.record.folder.resolve().name

    @property
    def preset(self) -> str:
        """The preset in the run's manifest; empty where it has none. Untrusted."""
        knobs = self.record.manifest.get("knobs")
        return text(knobs.get("preset")) if isinstance(knobs, Mapping) else ""

    @property
    def keys(self) -> tuple[TurnKey, ...]:
        """Keys of its turns, in their order."""
        return tuple(turn.key for turn in self.record.turns)

    @property
    def seconds(self) -> str:
        """The unit of its seconds, as in every report."""
        return self.tables.totals.seconds_name


def gather(folder: Path) -> PageRun:
    """Return a run, read from its folder.

    Raises:
        FormatError: when it is no run, or cannot be read; see `load_run`.
    """
    record = load_run(folder, keep_raw=True)
    tables = summarise(
        record.rows, record.turns, plan=record.plan, is_simulated=record.is_simulated
    )
    raw_calls: dict[TurnKey, list[RawLine]] = {turn.key: [] for turn in record.turns}
    for row, raw in zip(record.rows, record.raw_rows, strict=True):
        if row.turn_key is not None:
            raw_calls[row.turn_key].append(raw)
    calls = calls_by_turn(record.turns, record.rows)
    return PageRun(record, tables, calls, raw_calls, recorded_calls(record))


MAX_ANCHOR_CHARS = 120
"""Longest conversation id that is put in a link unchanged."""

_ANSWERED = frozenset({Outcome.SERVED, Outcome.CACHED, Outcome.COALESCED, Outcome.REPLAYED})

_SHOWN_ELSEWHERE = frozenset(
    {
        *TurnLine.model_fields,
        "time",
        "user_text",
        "outcomes",
        "attempts",
        "requests",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "usd",
        "unknown_usage",
        "work_seconds",
        "retry_seconds",
        "unreadable",
        "repairs",
    }
)


def anchor_of(key: TurnKey) -> str:
    """Return the end of a link to a turn: letters, digits and percent signs only."""
    conversation, turn = key
    name = quote(conversation, safe="", errors="backslashreplace")
    if len(name) > MAX_ANCHOR_CHARS:
        digest = hashlib.blake2b(name.encode("ascii"), digest_size=8).hexdigest()
        name = f"{name[:40].rpartition('%')[0] or name[:40]}~{digest}"
    return f"turn/{name}/{turn}"


def _notes(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a turn's notes on its troubles: a title, a reason, and details."""
    notes = []
    for line in lines:
        title = text(line.get("node")) or text(line.get("what")) or "(unnamed)"
        # Role and endpoint are in the details.
        others = line.keys() - {"node", "what", "role", "endpoint"}
        notes.append([title, *(line[name] for name in line if name in others and text(line[name]))])
    return notes


def _sums_json(sums: UsageSums) -> dict[str, Any]:
    return {
        "asked": sums.asked,
        "outcomes": [[outcome.value, count] for outcome, count in sums.outcomes.items() if count],
        "unreadable": sums.unreadable,
        "repairs": sums.repairs,
        "attempts": sums.usage.attempts,
        "requests": sums.usage.requests,
        "input_tokens": sums.usage.input_tokens,
        "output_tokens": sums.usage.output_tokens,
        "unknown_usage": sums.usage.unknown_usage,
        "usd": sums.usd,
    }


def _facts(raw: Mapping[str, Any]) -> list[Fact]:
    """Return the other fields of a turn's line, inner objects and lists of words included."""
    facts = facts_of(raw, leaving_out=_SHOWN_ELSEWHERE)
    for name, value in raw.items():
        if name not in _SHOWN_ELSEWHERE:
            facts += [(f"{name}.{inner}", each) for inner, each in facts_of(mapping(value))]
            texts = [each for each in items(value) if text(each)]
            facts += [(name, ", ".join(texts))] if texts else []
    return facts


def _judges_words(
    search: dict[str, Any] | None, calls: Sequence[CallLine], recorded: Sequence[RecordedCall]
) -> list[str]:
    """Return the judge's reasons in each call, where the turn's search has none in its record."""
    words = [""] * len(calls)
    if search and (search["final_words"] or any("words" in each for each in search["nodes"])):
        return words
    for place, (call, known) in enumerate(zip(calls, recorded, strict=True)):
        if call.role is Role.JUDGE and call.outcome in _ANSWERED and known.answer:
            words[place] = spoken(known.answer)
    return words


def _view(run: PageRun, turn: TurnLine, raw: Mapping[str, Any], store: TextStore) -> dict[str, Any]:
    calls, raw_calls = run.calls[turn.key], run.raw_calls[turn.key]
    recorded = [run.recorded.of(each) or NOTHING_RECORDED for each in raw_calls]
    search = search_of(turn.search)
    words = _judges_words(search, calls, recorded)
    sums = sum_calls(calls)
    rows = call_rows(calls, raw_calls, recorded, words, store)
    for node in () if search is None else search["nodes"]:
        node.update({name: store.add(node[name]) for name in ("reply", "words") if name in node})
    return {
        "conversation": turn.conversation_id,
        "turn": turn.turn,
        "anchor": anchor_of(turn.key),
        "time": text(raw.get("time")),
        "user_text": store.add(text(raw.get("user_text"))),
        "reply": store.add(turn.reply),
        "degraded": _notes(turn.degraded),
        "wound_down": _notes(turn.wound_down),
        "sums": _sums_json(sums),
        "rounds": turn.spans[:2],
        "seconds": turn.spans[2:],
        "above_plan": above_plan(run, sums.asked - sums.outcomes[Outcome.REFUSED]),
        "plan": plan_rows(run, turn, calls),
        "calls": rows,
        "search": search,
        "facts": _facts(raw),
    }


def turn_views(run: PageRun, store: TextStore) -> list[dict[str, Any]]:
    """Return each finished turn as plain JSON, in the run's order; long texts go to the store."""
    return [
        _view(run, turn, raw, store)
        for turn, raw in zip(run.record.turns, run.record.raw_turns, strict=True)
    ]


CALL_COLUMNS = (
    "node",
    "role",
    "purpose",
    "outcome",
    "attempts",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unknown_usage",
    "usd",
    "retry_seconds",
    "queue_seconds",
    "path_seconds",
    "end_round",
    "is_unreadable",
    "repair",
    "sample",
    "is_speculative",
    "model",
    "endpoint",
    "error",
    "notes",
    "words",
    "prompt",
    "settings",
    "answer",
    "tool_calls",
    "parsed",
    "finish_reason",
    "delivery",
    "choice",
    "is_virtual",
)
"""Columns of a call's row, in this order. `parsed` is null where the answer is JSON itself."""

_RAW_FIGURES = ("path_seconds", "end_round")

_RAW_TEXTS = ("model", "endpoint")


def _way_facts(record: Any) -> list[Fact]:
    """Return the fields of a call's `delivery` or `choice`; the texts of a list as one."""
    found: list[Fact] = []
    for name, value in mapping(record).items():
        listed = "; ".join(text(each) or json.dumps(each) for each in items(value))
        found += facts_of({name: listed[:MAX_FACT_CHARS] if listed else value})
    return found


def call_rows(
    calls: Sequence[CallLine],
    raw_calls: Sequence[Mapping[str, Any]],
    recorded: Sequence[RecordedCall],
    words: Sequence[str],
    store: TextStore,
) -> list[list[Any]]:
    """Return one row per call, with `CALL_COLUMNS`.

    Args:
        raw_calls: the same lines unchecked, for columns that a report does not add up.
        recorded: the prompt and answer of each; `NOTHING_RECORDED` where not known.
        words: the judge's reasons in each, empty where not known.
        store: where long texts go.
    """
    rows = []
    for call, raw, known, reasons in zip(calls, raw_calls, recorded, words, strict=True):
        parsed = known.parsed
        values: dict[str, Any] = {
            **call.usage.to_json(),
            **dict(call),
            **{name: figure(raw.get(name)) for name in _RAW_FIGURES},
            **{name: text(raw.get(name)) for name in _RAW_TEXTS},
            "node": call.node or "-",
            "sample": figure(raw.get("sample")) or 0,
            "words": reasons and store.add(reasons),
            "prompt": [[role, store.add(words)] for role, words in known.messages],
            "settings": list(known.settings.items()),
            "answer": store.add(known.answer),
            "tool_calls": store.add(known.tool_calls),
            "parsed": None if parsed is None else store.add(parsed),
            "finish_reason": known.finish_reason,
            "delivery": _way_facts(raw.get("delivery")),
            "choice": _way_facts(raw.get("choice")),
            "is_virtual": int(call.is_virtual),
        }
        rows.append([values[name] for name in CALL_COLUMNS])
    return rows


def plan_rows(
    run: PageRun, turn: TurnLine, calls: Sequence[CallLine]
) -> list[tuple[Cell, Cell, Cell, Cell]]:
    """Return figure, planned, worst and actual of one turn; empty where the run has no plan."""
    table = summarise(calls, [turn], plan=run.record.plan).against_plan
    if table is None:
        return []
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return [
        (row["figure"], row["planned"], row["planned_worst"], row["actual_mean"])
        for row in rows
        if not str(row["figure"]).endswith(" per request")
    ]


def above_plan(run: PageRun, asked: int) -> str:
    """Return how far a turn's calls go beyond the plan: empty, `usual` or `worst`."""
    scenarios = mapping(mapping(run.record.plan).get("scenarios"))
    limits = {
        "worst": figure(mapping(scenarios.get("worst")).get("asked")),
        "usual": figure(mapping(scenarios.get("default")).get("asked")),
    }
    return next((name for name, most in limits.items() if most is not None and asked > most), "")
