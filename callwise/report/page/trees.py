"""A turn's search as the page shows it: its tree as an outline, its figures by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callwise.report.page.plain import Fact, facts_of, mapping, text
from callwise.report.search_view import SearchViewNode, read_search

__all__ = ["MAX_RAW_CHARS", "Search", "search_of"]

MAX_RAW_CHARS = 20_000
"""Most characters that are shown of a record that could not be read."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a turn's record has of its search, as the page shows it. Its texts are untrusted.

    Args:
        stop_reason: why it stopped; empty when the record has none.
        facts: its other plain figures, by name, those of inner objects as `name.inner`.
        nodes: the tree depth first, as plain JSON; what is empty or unknown is left out.
        final: figures of the last judgement of the pick, by name.
        final_words: the judge's words there.
        raw: the record as written, where it could not be read; cut where it is too long.
    """

    stop_reason: str
    facts: list[Fact]
    nodes: list[dict[str, Any]]
    final: list[Fact]
    final_words: str
    raw: str

    @property
    def has_words(self) -> bool:
        """Whether it has any of the judge's words."""
        return bool(self.final_words) or any("words" in node for node in self.nodes)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "stop": self.stop_reason,
            "facts": self.facts,
            "nodes": self.nodes,
            "final": self.final,
            "final_words": self.final_words,
            "raw": self.raw,
        }


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
    }
)


def search_of(raw: Mapping[str, Any]) -> Search | None:
    """Return what a turn's record has of its search; None when it has nothing.

    A record that cannot be read is shown as it was written, never guessed at.
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
    return Search(
        stop_reason=text(raw.get("stop_reason")) or text(raw.get("stopped")),
        facts=facts,
        nodes=nodes,
        final=[fact for fact in facts_of(final) if not isinstance(fact[1], str)],
        final_words=text(final.get("reason")),
        raw=unread,
    )


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
        "score": node.mean_value,
        "sd": node.sd,
        "judged": list(node.judged.items()),
        "words": node.reason,
        "figures": [] if node.is_start else facts_of(figures),
        "best": node.is_best,
        "dropped": node.is_dropped,
        "start": node.is_start,
    }
    # A score of 0 is a score: only what is not known, not said or not so is left out.
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
