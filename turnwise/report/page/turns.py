"""A finished turn, as the page shows it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from turnwise.calls.call import Outcome, Role
from turnwise.report.lines import CallLine, TurnKey, TurnLine
from turnwise.report.page.calls import above_plan, call_rows, plan_rows
from turnwise.report.page.gathered import GatheredRun
from turnwise.report.page.plain import Fact, facts_of, items, mapping, text
from turnwise.report.page.trees import Search, search_of
from turnwise.report.page.words import recorded_words
from turnwise.report.sums import CallSums, sum_calls

__all__ = ["anchor_of", "calls_of", "turn_views"]

MAX_ANCHOR_CHARS = 120
"""Longest conversation id that stands in a link as it is."""

_ANSWERED = frozenset({Outcome.SERVED, Outcome.CACHED, Outcome.COALESCED, Outcome.REPLAYED})

_SHOWN_ELSEWHERE = frozenset(
    {
        "conversation_id",
        "turn",
        "time",
        "user_text",
        "reply",
        "degraded",
        "wound_down",
        "search",
        "rounds",
        "path_seconds",
        "simulated",
        "asked",
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
    """Return what a link to a turn ends with: letters, digits and percent signs only."""
    conversation, turn = key
    name = quote(conversation, safe="", errors="backslashreplace")
    if len(name) > MAX_ANCHOR_CHARS:
        digest = hashlib.blake2b(name.encode("ascii"), digest_size=8).hexdigest()
        name = f"{name[:40].rpartition('%')[0] or name[:40]}~{digest}"
    return f"turn/{name}/{turn}"


def calls_of(run: GatheredRun) -> dict[TurnKey, list[CallLine]]:
    """Return the calls of each finished turn, in the ledger's order."""
    found: dict[TurnKey, list[CallLine]] = {key: [] for key in run.keys}
    for row in run.record.rows:
        if row.turn_key is not None:
            found[row.turn_key].append(row)
    return found


def _notes(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return what a turn says went otherwise: a title, a reason, and details."""
    notes = []
    for line in lines:
        title = text(line.get("node")) or text(line.get("what"))
        rest = [
            value
            for name, value in line.items()
            # What is down, and where, is in the detail.
            if name not in {"node", "what", "role", "endpoint"} and text(value)
        ]
        notes.append([title or "(not said)", *rest])
    return notes


def _sums_json(sums: CallSums) -> dict[str, Any]:
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
    """Return what else the app wrote of a turn, inner objects and lists of words included."""
    facts = facts_of(raw, leaving_out=_SHOWN_ELSEWHERE)
    for name, value in raw.items():
        if name not in _SHOWN_ELSEWHERE:
            facts += [(f"{name}.{inner}", each) for inner, each in facts_of(mapping(value))]
            said = [each for each in items(value) if text(each)]
            facts += [(name, ", ".join(said))] if said else []
    return facts


def _words_of_turns(
    run: GatheredRun,
    searches: Mapping[TurnKey, Search | None],
    calls: Mapping[TurnKey, Sequence[CallLine]],
) -> dict[TurnKey, list[str]]:
    """Return what was said in each call, for the turns whose own record holds no words."""
    wanted = []
    for key, search in searches.items():
        if search is not None and search.has_words:
            continue
        wanted += [
            (key, place)
            for place, call in enumerate(calls[key])
            if call.role is Role.JUDGE and call.outcome in _ANSWERED
        ]
    said = recorded_words(run, [run.raw_calls[key][place] for key, place in wanted])
    found = {key: [""] * len(rows) for key, rows in calls.items()}
    for (key, place), words in zip(wanted, said, strict=True):
        found[key][place] = words
    return found


def _view(
    run: GatheredRun,
    turn: TurnLine,
    raw: Mapping[str, Any],
    calls: Sequence[CallLine],
    *,
    search: Search | None,
    words: Sequence[str],
) -> dict[str, Any]:
    sums = sum_calls(calls)
    rounds, seconds = turn.spans[:2], turn.spans[2:]
    return {
        "conversation": turn.conversation_id,
        "turn": turn.turn,
        "anchor": anchor_of(turn.key),
        "time": text(raw.get("time")),
        "user_text": text(raw.get("user_text")),
        "reply": turn.reply,
        "degraded": _notes(turn.degraded),
        "wound_down": _notes(turn.wound_down),
        "sums": _sums_json(sums),
        "rounds": rounds,
        "seconds": seconds,
        "above_plan": above_plan(run, sums.asked - sums.outcomes[Outcome.REFUSED]),
        "plan": plan_rows(run, turn, calls),
        "calls": call_rows(calls, run.raw_calls[turn.key], words),
        "search": None if search is None else search.as_json(),
        "facts": _facts(raw),
    }


def turn_views(run: GatheredRun) -> list[dict[str, Any]]:
    """Return each finished turn as plain JSON, in the run's order."""
    calls = calls_of(run)
    searches = {turn.key: search_of(turn.search) for turn in run.record.turns}
    words = _words_of_turns(run, searches, calls)
    return [
        _view(run, turn, raw, calls[turn.key], search=searches[turn.key], words=words[turn.key])
        for turn, raw in zip(run.record.turns, run.raw_turns, strict=True)
    ]
