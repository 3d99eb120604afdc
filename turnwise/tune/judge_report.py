"""How far each judge of a sweep may be trusted: the referee, and the search's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from turnwise.tune.quality import Score, simulated_truth
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.search_judge import search_judge_items, search_judge_scores
from turnwise.tune.statistics.bootstrap import Interval
from turnwise.tune.statistics.reliability import JudgeReliability, reliability_of

__all__ = ["judge_reliabilities", "reliability_in_words"]

KINDS = ("truth", "human", "referee")
"""Who knows better, the first first."""


def _kind(by: str) -> str:
    return by.partition(":")[0]


def _known_better(by: str, scores: Sequence[Score]) -> list[Score]:
    """Return the scores of the source that a judge is held against; empty where there is none."""
    rank = KINDS.index(_kind(by)) if _kind(by) in KINDS else len(KINDS)
    for kind in KINDS[:rank]:
        sources = sorted({score.by for score in scores if _kind(score.by) == kind})
        if sources:
            return [score for score in scores if score.by == sources[0]]
    return []


def judge_reliabilities(
    turns: Sequence[Mapping[str, Any]],
    items: Sequence[ReplyItem],
    scores: Sequence[Score],
    *,
    is_simulated: bool,
    seed: int = 0,
) -> tuple[JudgeReliability, ...]:
    """Return how far the referee and the search's judge may be trusted.

    Args:
        turns: lines of the recording's `turns.jsonl`.
        items: the replies that were judged.
        scores: of all sources.
        is_simulated: whether the replies hide a true quality.
        seed: of the simulated model that gave them.
    """
    search = search_judge_scores(turns)
    known = list(scores)
    if is_simulated:
        known += simulated_truth([*items, *search_judge_items(turns)], seed=seed)
    found = []
    for by in sorted({score.by for score in scores if _kind(score.by) == "referee"}):
        own = [score for score in scores if score.by == by]
        found.append(reliability_of(own, _known_better(by, known)))
    if search:
        found.append(reliability_of(search, _known_better("search judge", known)))
    return tuple(found)


def _figure(name: str, interval: Interval | None) -> str | None:
    if interval is None or interval.mean is None:
        return None
    reach = ""
    if interval.low is not None and interval.high is not None:
        reach = f" ({interval.low:.2f} to {interval.high:.2f})"
    return f"{name} {interval.mean:.2f}{reach}, {interval.turns} turns"


def reliability_in_words(judge: JudgeReliability) -> str:
    """Return one judge's figures in a line; what cannot be computed is left out."""
    figures = (
        _figure("within-prompt correlation", judge.within_prompt_correlation),
        _figure("of two looks", judge.repeat_correlation),
        _figure("ties", judge.tie_rate),
        _figure("same verdict in both orders", judge.order_consistency),
        _figure("finds the best reply", judge.top1_recovery),
        _figure("by lot", judge.top1_by_lot),
    )
    known = "; ".join(figure for figure in figures if figure) or "nothing to hold it against"
    beside = f" beside {judge.against}" if judge.against else ""
    return f"{judge.by}{beside}: {known}"
