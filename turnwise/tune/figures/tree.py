"""The search tree of one turn as data, read from the turn's record as plain JSON.

Two forms are read: candidates as a list, each with its `id`, `parent_id` and belief, and a
tree as `{"nodes": {id: node}}`, each with `visits` and `value_sum`. A search of another
kind fits, too, when it writes one of them. The record came from a file, so nothing in it
is taken on trust.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from turnwise.tune.statistics.power import counted

__all__ = ["SearchTree", "TreeNode", "search_tree_of"]

_TOP = ""
"""Id of the top of a list of candidates; no candidate can have it."""
MAX_NODES = 2_000
"""Larger trees are refused: nobody could read the figure."""


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One reply of the search. Its texts are untrusted.

    Args:
        node_id: unique in the tree.
        parent_id: of a node before it; None for the top.
        depth: edges to the top. 0 for the top.
        slot: its place across, in leaves; the first leaf stands at 0.
        label: the word for what it tries; empty where none is known.
        text: the reply.
        score: mean of its score, in the judge's unit; None where no judge was heard.
        spread: standard deviation of that mean; None when not known.
        visits: times that a value was backed up through it.
        is_pick: whether the search answers with it.
        is_dropped: whether the search had given it up.
        is_start: whether it is only what the others start from.
    """

    node_id: str
    parent_id: str | None
    depth: int
    slot: float
    label: str
    text: str
    score: float | None
    spread: float | None
    visits: int
    is_pick: bool = False
    is_dropped: bool = False
    is_start: bool = False


@dataclass(frozen=True, slots=True)
class SearchTree:
    """A tree to draw.

    Args:
        nodes: a parent before its children.
        stop_reason: why the search stopped; empty when it does not say.
        calls: asked in all; None when it does not say.
        rounds: of the search; None when it does not say.
        where: which turn it is of, in words; may be empty.
        is_simulated: whether a simulated model answered.
    """

    nodes: tuple[TreeNode, ...]
    stop_reason: str
    calls: int | None
    rounds: int | None
    where: str
    is_simulated: bool

    @property
    def title(self) -> str:
        """What it is called."""
        return f"Search of {self.where}" if self.where else "Search of one turn"

    @property
    def leaves(self) -> int:
        """How many slots it takes."""
        return 1 + round(max(node.slot for node in self.nodes))

    @property
    def caption(self) -> str:
        """What a reader has to know, in one paragraph."""
        replies = sum(not node.is_start for node in self.nodes)
        known = [
            f"{replies} {'reply' if replies == 1 else 'replies'}",
            "" if self.calls is None else counted(self.calls, "call"),
            "" if self.rounds is None else counted(self.rounds, "round"),
            f"stopped by {self.stop_reason}" if self.stop_reason else "",
        ]
        words = f"One turn: {', '.join(part for part in known if part)}."
        words += " In a box: mean score, its standard deviation, and visits; ringed: the pick."
        return f"{words} Simulated: no real model answered." if self.is_simulated else words


def search_tree_of(
    search: Mapping[str, Any], *, where: str = "", is_simulated: bool = False
) -> SearchTree:
    """Return the tree of a turn's `search` record.

    Args:
        search: the JSON object, as `turns.jsonl` holds it.
        where: which turn it is, in words.
        is_simulated: whether a simulated model answered.

    Raises:
        ValueError: when it holds no tree, or one that is none; it names what is wrong.
    """
    raw = search.get("tree")
    if isinstance(raw, list):
        nodes = list(_candidates(raw))
    elif isinstance(raw, Mapping) and isinstance(raw.get("nodes"), Mapping):
        nodes = [_tree_node(raw_node, place) for place, raw_node in _items(raw["nodes"])]
    else:
        kind = "no `tree`" if raw is None else f"a `tree` that is {type(raw).__name__}"
        raise ValueError(  # noqa: TRY004 - it is what the file holds
            f"this turn has no search tree: its record has {kind}; expected a list of "
            "candidates, or an object with `nodes`"
        )
    if not nodes:
        raise ValueError("this turn has no search tree: it has no nodes")
    if len(nodes) > MAX_NODES:
        raise ValueError(f"a search of {len(nodes)} nodes; at most {MAX_NODES} can be drawn")
    asked = search.get("asked")
    counts = asked.values() if isinstance(asked, Mapping) else ()
    are_counts = asked is not None and all(type(count) is int for count in counts)
    rounds = search.get("rounds")
    return SearchTree(
        nodes=_placed(_picked(nodes, search.get("best_id"))),
        stop_reason=str(search.get("stop_reason") or ""),
        calls=sum(counts) if are_counts else None,
        rounds=rounds if type(rounds) is int else None,
        where=where,
        is_simulated=is_simulated,
    )


def _items(nodes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, raw in nodes.items():
        if not isinstance(raw, Mapping):
            raise ValueError(f"no search tree: node {name!r} is no object")  # noqa: TRY004 - it is what the file holds
        yield name, raw


def _candidates(records: list[Any]) -> Iterator[TreeNode]:
    """Give a top, and every candidate below it or below another."""
    if records:
        yield TreeNode(_TOP, None, 0, 0.0, "start", "", None, None, 0, is_start=True)
    for place, raw in enumerate(records):
        where = f"candidate {place}"
        if not isinstance(raw, Mapping):
            raise ValueError(f"no search tree: {where} is no object")  # noqa: TRY004 - it is what the file holds
        parent = _id(raw, "parent_id", where)
        yield TreeNode(
            node_id=_known_id(raw, "id", where),
            parent_id=_TOP if parent is None else parent,
            depth=0,
            slot=0.0,
            label=_words(raw.get("strategy_tag")),
            text=_words(raw.get("reply")),
            score=_figure(raw, "posterior_mean", where),
            spread=_figure(raw, "posterior_sd", where),
            visits=_count(raw, where),
            is_dropped=raw.get("is_dropped") is True,
        )


def _tree_node(raw: Mapping[str, Any], name: str) -> TreeNode:
    """Return a node of a tree whose values are backed up as sums."""
    where = f"node {name!r}"
    draft = raw.get("draft")
    draft = draft if isinstance(draft, Mapping) else {}
    visits, value_sum = _count(raw, where), _figure(raw, "value_sum", where)
    return TreeNode(
        node_id=_known_id(raw, "node_id", where),
        parent_id=_id(raw, "parent_id", where),
        depth=0,
        slot=0.0,
        label=_words(draft.get("strategy_tag")),
        text=_words(draft.get("reply")),
        score=value_sum / visits if visits and value_sum is not None else None,
        spread=None,
        visits=visits,
    )


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(raw: Mapping[str, Any], field: str, where: str) -> str | None:
    value = raw.get(field)
    if value is None or (isinstance(value, str) and value):
        return value
    raise ValueError(f"no search tree: {where}: expected `{field}` as text, got {value!r}")


def _known_id(raw: Mapping[str, Any], field: str, where: str) -> str:
    value = _id(raw, field, where)
    if value is None:
        raise ValueError(f"no search tree: {where} has no `{field}`")
    return value


def _figure(raw: Mapping[str, Any], field: str, where: str) -> float | None:
    value = raw.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"no search tree: {where}: expected `{field}` as a number, got {value!r}")
    return float(value)


def _count(raw: Mapping[str, Any], where: str) -> int:
    value = raw.get("visits", 0)
    if type(value) is not int or value < 0:
        raise ValueError(f"no search tree: {where}: expected `visits` of 0 or more, got {value!r}")
    return value


def _picked(nodes: list[TreeNode], best_id: Any) -> list[TreeNode]:
    if best_id is None:
        return nodes
    if not any(node.node_id == best_id and not node.is_start for node in nodes):
        raise ValueError(f"no search tree: best_id {best_id!r} is not in it")
    return [replace(node, is_pick=node.node_id == best_id) for node in nodes]


def _placed(nodes: list[TreeNode]) -> tuple[TreeNode, ...]:
    """Return the nodes with depth and slot: leaves side by side, a parent above their middle."""
    depths: dict[str, int] = {}
    below: dict[str, list[str]] = {}
    for node in nodes:
        if node.node_id in depths:
            raise ValueError(f"no search tree: {node.node_id!r} stands there twice")
        if node.parent_id is None and depths:
            raise ValueError(f"no search tree: {node.node_id!r} is a second top")
        if node.parent_id is not None and node.parent_id not in depths:
            raise ValueError(f"no search tree: {node.node_id!r} comes before its parent")
        depths[node.node_id] = 0 if node.parent_id is None else depths[node.parent_id] + 1
        below[node.node_id] = []
        if node.parent_id is not None:
            below[node.parent_id].append(node.node_id)
    slots = _slots(nodes[0].node_id, below)
    return tuple(replace(node, depth=depths[node.node_id], slot=slots[node.node_id])
                 for node in nodes)  # fmt: skip


def _slots(top: str, below: Mapping[str, list[str]]) -> dict[str, float]:
    """Return every node's place across. A chain may be of any length, so it does not recurse."""
    walk, waiting = [], [top]
    while waiting:
        walk.append(waiting.pop())
        waiting += reversed(below[walk[-1]])
    leaves = [node_id for node_id in walk if not below[node_id]]
    slots = {node_id: float(place) for place, node_id in enumerate(leaves)}
    for node_id in reversed(walk):
        if below[node_id]:
            slots[node_id] = (slots[below[node_id][0]] + slots[below[node_id][-1]]) / 2
    return slots
