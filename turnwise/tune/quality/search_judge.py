"""What the search's own judge said of its candidates, to be held against somebody else.

It never counts as quality: it chose the replies, so its scores of them are too good. How
far it may be trusted is worth knowing all the same, since the whole trade-off hangs on it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from turnwise.report.search_view import read_search
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.scores import ReplyKey, Score, reply_id

__all__ = ["SEARCH_JUDGE", "search_judge_items", "search_judge_scores"]

SEARCH_JUDGE = "search judge"

_SCALE = (0.0, 1.0)


def _candidates(turns: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int, str, float]]:
    """Yield conversation, turn, reply and mean score of every candidate that was judged."""
    for turn in turns:
        record = turn.get("search")
        try:
            nodes = read_search(record).candidates if isinstance(record, Mapping) else ()
        except ValueError:  # the record of another app's search
            nodes = ()
        for node in nodes:
            if node.reply and node.mean_score is not None and node.scores:
                yield str(turn["conversation_id"]), int(turn["turn"]), node.reply, node.mean_score


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
