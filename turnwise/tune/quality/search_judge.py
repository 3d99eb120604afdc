"""What the search's own judge said of its candidates, to be held against somebody else.

It never counts as quality: it chose the replies, so its scores of them are too good. How
far it may be trusted is worth knowing all the same, since the whole trade-off hangs on it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.scores import Score
from turnwise.tune.row import ReplyKey, reply_id

__all__ = ["SEARCH_JUDGE", "search_judge_items", "search_judge_scores"]

SEARCH_JUDGE = "search judge"

_SCALE = (0.0, 1.0)


def _nodes(search: Any) -> Iterable[Mapping[str, Any]]:
    """Give a search's candidates: a list, or by id below `nodes`, or nothing that is known."""
    tree = search.get("tree") if isinstance(search, Mapping) else None
    if isinstance(tree, Mapping):
        nodes = tree.get("nodes")
        tree = list(nodes.values()) if isinstance(nodes, Mapping) else None
    return [node for node in tree if isinstance(node, Mapping)] if isinstance(tree, list) else ()


def _judged(node: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return a candidate's text and what its judge gave it; None where it was not judged."""
    draft, judgement = node.get("draft"), node.get("judgement")
    source = draft if isinstance(draft, Mapping) else node
    reply, score = source.get("reply"), node.get("mean_score")
    if score is None and isinstance(judgement, Mapping):
        score = judgement.get("score")
    if not isinstance(reply, str) or not reply or not isinstance(score, int | float):
        return None
    return (reply, float(score)) if node.get("scores", 1) else None


def _candidates(turns: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int, str, float]]:
    """Give conversation, turn, reply and mean score of every candidate that was judged."""
    for turn in turns:
        for node in _nodes(turn.get("search")):
            judged = _judged(node)
            if judged is not None:
                yield str(turn["conversation_id"]), int(turn["turn"]), *judged


def search_judge_scores(turns: Iterable[Mapping[str, Any]]) -> list[Score]:
    """Return the mean score that the search's judge gave each candidate of recorded turns.

    Args:
        turns: lines of `turns.jsonl`; those without a search's tree are passed over.
    """
    found: dict[ReplyKey, Score] = {}
    for conversation, turn, reply, score in _candidates(turns):
        key = conversation, turn, reply_id(reply)
        found.setdefault(key, Score(SEARCH_JUDGE, *key, score, *_SCALE))
    return [found[key] for key in sorted(found)]


def search_judge_items(turns: Iterable[Mapping[str, Any]]) -> list[ReplyItem]:
    """Return the same candidates as replies, so that a truth can be read of them."""
    found: dict[ReplyKey, ReplyItem] = {}
    for conversation, turn, reply, _ in _candidates(turns):
        item = ReplyItem(conversation, turn, "", reply)
        found.setdefault(item.key, item)
    return [found[key] for key in sorted(found)]
