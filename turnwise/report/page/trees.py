"""A search's tree from a turn's record, whatever wrote it, as a flat list to draw from.

The engine knows no search, so a tree is read by the look of its records. Known shapes:

    {"nodes": {id: record, ...}}                 records name their parent by `parent_id`
    [record, ...]                                the same in a list
    a record with `children`                     records inside records

A record has its text in `reply`, `text`, `content`, `answer` or `draft.reply`, and its score
in the first of `_SCORES`. What does not fit is shown as it was recorded, never guessed at.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from turnwise.report.page.plain import Fact, facts_of, figure, items, mapping, text

__all__ = ["Search", "TreeNode", "search_of"]

MAX_RAW_CHARS = 20_000
"""Most characters that are shown of a tree that could not be drawn."""

_SCORES = ("posterior_mean", "mean_value", "mean_score", "score", "value")
_TEXTS = ("reply", "text", "content", "answer")
_TAGS = ("strategy_tag", "strategy", "tag", "label")
_PLACES = frozenset({"id", "node_id", "parent_id", "parent", "depth", "value_sum"})
_BELIEFS = frozenset({"posterior_mean", "mean_value", "posterior_sd", "sd"})
_SHOWN_ELSEWHERE = frozenset({*_TEXTS, *_TAGS}) | _PLACES | _BELIEFS
_SHOWN_OF_SEARCH = frozenset({"tree", "stop_reason", "stopped", "best_id", "final_judgement"})


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One node of a tree. Its texts and names are untrusted.

    Args:
        depth: edges to the top; 0 for a top.
        reply: its whole text.
        tag: the proposer's word for what it tries.
        score: mean or belief, in the search's own unit; None where it was never judged.
        sd: standard deviation of `score`; None where it is not known.
        judged: figures that the judge gave last, by name.
        words: the judge's last words.
        figures: whatever else is known of it, by name.
        is_best: whether the search answers with it.
        is_dropped: whether the search gave it up.
        is_start: whether it is what candidates start from, and none itself.
    """

    depth: int
    reply: str
    tag: str = ""
    score: float | None = None
    sd: float | None = None
    judged: list[Fact] = field(default_factory=list)
    words: str = ""
    figures: list[Fact] = field(default_factory=list)
    is_best: bool = False
    is_dropped: bool = False
    is_start: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON; what is empty or unknown is left out."""
        given = {
            "depth": self.depth,
            "reply": self.reply,
            "tag": self.tag,
            "score": self.score,
            "sd": self.sd,
            "judged": self.judged,
            "words": self.words,
            "figures": self.figures,
            "best": self.is_best,
            "dropped": self.is_dropped,
            "start": self.is_start,
        }
        # A score of 0 is a score: only what is not known, not said or not so is left out.
        return {
            name: value
            for name, value in given.items()
            if value is not None and value is not False and value not in ("", [])
        }


@dataclass(frozen=True, slots=True)
class Search:
    """What a turn's record says of its search. Its texts and names are untrusted.

    Args:
        stop_reason: why it stopped; empty when it does not say.
        facts: its other plain figures, by name, those of inner objects as `name.inner`.
        nodes: the tree, a parent before its children, depth first.
        final: figures of the last judgement of the pick, by name.
        final_words: what the judge said there.
        raw: the tree as recorded, where it could not be drawn; cut where it is too long.
    """

    stop_reason: str
    facts: list[Fact]
    nodes: list[TreeNode]
    final: list[Fact]
    final_words: str
    raw: str

    @property
    def has_words(self) -> bool:
        """Whether it holds any of the judge's words."""
        return bool(self.final_words) or any(node.words for node in self.nodes)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "stop": self.stop_reason,
            "facts": self.facts,
            "nodes": [node.as_json() for node in self.nodes],
            "final": self.final,
            "final_words": self.final_words,
            "raw": self.raw,
        }


Record = Mapping[str, Any]


def _nested(top: Record) -> Iterator[tuple[str, str | None, Record]]:
    """Give the records of a tree of records, each with ids of our own making."""
    waiting: deque[tuple[Record, str | None]] = deque([(top, None)])
    number = 0
    while waiting:
        record, parent = waiting.popleft()
        own = text(record.get("id")) or text(record.get("node_id")) or f"#{number}"
        number += 1
        yield own, parent, record
        waiting.extend((mapping(child), own) for child in items(record.get("children")))


def _named(key: str, record: Record) -> tuple[str, str | None, Record]:
    own = record.get("id", record.get("node_id"))
    parent = record.get("parent_id", record.get("parent"))
    return (
        key if own is None else str(own),
        None if parent is None else str(parent),
        record,
    )


def _numbered(records: Any) -> list[tuple[str, Any]]:
    return [(str(place), record) for place, record in enumerate(items(records))]


def _records(tree: Any) -> list[tuple[str, str | None, Record]]:
    """Return id, parent's id and record of every node; empty when it is no known shape."""
    if isinstance(tree, Mapping) and "children" in tree:
        return list(_nested(tree))
    if isinstance(tree, Mapping):
        nodes = tree.get("nodes")
        pairs = [*mapping(nodes).items(), *_numbered(nodes)]
    else:
        pairs = _numbered(tree)
    if not pairs or not all(isinstance(record, Mapping) for _, record in pairs):
        return []
    return [_named(key, record) for key, record in pairs]


def _ordered(
    records: list[tuple[str, str | None, Record]],
) -> Iterator[tuple[int, str, Record]]:
    """Give depth, id and record, depth first; what hangs on nothing or on itself is a top."""
    known = {own for own, _, _ in records}
    below: dict[str | None, list[int]] = {}
    for place, (own, parent, _) in enumerate(records):
        above = parent if parent in known and parent != own else None
        below.setdefault(above, []).append(place)
    seen: set[int] = set()
    waiting: list[tuple[int, int]] = []
    tops = [*below.get(None, []), *range(len(records))]  # the rest are rings: broken anywhere
    for top in tops:
        waiting.append((top, 0))
        while waiting:
            place, depth = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            own, _, record = records[place]
            yield depth, own, record
            waiting += [(child, depth + 1) for child in reversed(below.get(own, []))]


def _first_text(record: Record, names: tuple[str, ...]) -> str:
    draft = mapping(record.get("draft"))
    found = (text(source.get(name)) for source in (record, draft) for name in names)
    return next(filter(None, found), "")


def _score(record: Record, judged: Record) -> float | None:
    visits, value_sum = figure(record.get("visits")), figure(record.get("value_sum"))
    if value_sum is not None:  # a running sum, as the classic search keeps it
        return figure(value_sum / visits) if visits else None
    known = (figure(source.get(name)) for source in (record, judged) for name in _SCORES)
    return next((score for score in known if score is not None), None)


def _node(depth: int, own: str, record: Record, best: str | None) -> TreeNode:
    judged = mapping(record.get("judged")) or mapping(record.get("judgement"))
    sd = figure(record.get("posterior_sd"))
    figures = facts_of(record, leaving_out=_SHOWN_ELSEWHERE)
    return TreeNode(
        depth=depth,
        reply=_first_text(record, _TEXTS),
        tag=_first_text(record, _TAGS),
        score=_score(record, judged),
        sd=figure(record.get("sd")) if sd is None else sd,
        judged=[fact for fact in facts_of(judged) if not isinstance(fact[1], str)],
        words=text(judged.get("reason")) or text(judged.get("words")),
        figures=[fact for fact in figures if not isinstance(fact[1], bool)],
        is_best=own == best or record.get("is_best") is True,
        is_dropped=record.get("is_dropped") is True,
        is_start=record.get("is_start") is True,
    )


def _raw(tree: Any) -> str:
    try:
        whole = json.dumps(tree, ensure_ascii=False, indent=1)
    except (RecursionError, ValueError, TypeError):
        return "nested too deeply to be shown"
    cut = f"\n... {len(whole) - MAX_RAW_CHARS:,} characters more"
    return whole if len(whole) <= MAX_RAW_CHARS else whole[:MAX_RAW_CHARS] + cut


def search_of(raw: Mapping[str, Any]) -> Search | None:
    """Return what a turn's record says of its search; None when it says nothing."""
    if not raw:
        return None
    tree, best = raw.get("tree"), raw.get("best_id")
    nodes = [
        _node(depth, own, record, None if best is None else str(best))
        for depth, own, record in _ordered(_records(tree))
    ]
    facts = facts_of(raw, leaving_out=_SHOWN_OF_SEARCH)
    for name, inner in raw.items():
        if name not in _SHOWN_OF_SEARCH:
            facts += [(f"{name}.{key}", value) for key, value in facts_of(mapping(inner))]
    final = mapping(raw.get("final_judgement"))
    return Search(
        stop_reason=text(raw.get("stop_reason")) or text(raw.get("stopped")),
        facts=facts,
        nodes=nodes,
        final=[fact for fact in facts_of(final) if not isinstance(fact[1], str)],
        final_words=text(final.get("reason")),
        raw=_raw(tree) if tree and not nodes else "",
    )
