"""The search of a turn as the page shows it: its tree as an outline, and the judge's reasons."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from callwise.report.page.plain import facts_of, mapping, text
from callwise.report.search_view import SearchViewNode, read_search

__all__ = ["MAX_RAW_CHARS", "MAX_WORDS_CHARS", "search_of", "spoken"]

MAX_WORDS_CHARS = 4_000
"""Most characters that are kept of one answer."""

_NAMES = frozenset({"reason", "reasons", "rationale", "critique", "comment", "words"})

MAX_RAW_CHARS = 20_000
"""Most characters that are shown of a record that could not be read."""


_SHOWN_ELSEWHERE = frozenset(
    {
        "search_record",
        "tree",
        "candidates",
        "start",
        "stop_reason",
        "stopped",
        "best_id",
        "final_judgement",
        "judges",
    }
)


def search_of(raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a turn's search as the page shows it, as plain JSON; None without a record.

    `nodes` are the tree depth first; empty and unknown figures are left out. A record that cannot
    be read is shown as it was written (`raw`), never guessed at. All texts are untrusted.
    """
    if not raw:
        return None
    facts = facts_of(raw, leaving_out=_SHOWN_ELSEWHERE)
    for name, inner in raw.items():
        if name not in _SHOWN_ELSEWHERE:
            facts += [(f"{name}.{key}", value) for key, value in facts_of(mapping(inner))]
    final = mapping(raw.get("final_judgement"))
    try:
        view = read_search(raw)
        has_start = "start" in raw  # older records leave it out
        nodes = [_outlined(each) for each in view.depth_first() if has_start or not each.is_start]
        unread = ""
    except ValueError:
        nodes, unread = [], _as_written(raw.get("candidates", raw.get("tree")))
    return {
        "stop": text(raw.get("stop_reason")) or text(raw.get("stopped")),
        "facts": facts,
        "nodes": nodes,
        "final": [fact for fact in facts_of(final) if not isinstance(fact[1], str)],
        "final_words": text(final.get("reason")),
        "raw": unread,
    }


def _outlined(node: SearchViewNode) -> dict[str, Any]:
    figures = {
        "visits": node.visits,
        "judge_passes": node.judge_passes,
        "scores": node.scores,
        "mean_score": node.mean_score,
        "rule_score": node.rule_score,
        "assistantness": node.assistantness,
        "calls": node.calls,
    }
    given = {
        "depth": node.depth,
        "reply": node.reply,
        "tag": node.strategy_tag,
        "score": node.value,
        "sd": node.posterior_sd,
        "judged": list(node.judge_scores.items()),
        "words": node.reason,
        "figures": [] if node.is_start else facts_of(figures),
        "best": node.is_best,
        "dropped": node.is_dropped,
        "start": node.is_start,
    }
    # A score of 0 is a score, and is not left out.
    return {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value not in ("", [])
    }


def _as_written(tree: Any) -> str:
    try:
        whole = json.dumps(tree, ensure_ascii=False, indent=1)
    except (RecursionError, ValueError, TypeError):
        return "nested too deeply to be shown"
    cut = f"\n... {len(whole) - MAX_RAW_CHARS:,} characters more"
    return whole if len(whole) <= MAX_RAW_CHARS else whole[:MAX_RAW_CHARS] + cut


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
