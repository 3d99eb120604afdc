"""Reliability of a judge: its scores compared with a truth, a second judge, and itself.

Everything is measured within a prompt, which is one turn of one conversation, since replies to
different turns never compete. A judge that separates hard turns from easy ones only has a high
correlation over all replies, and none within prompts.

Each figure is a mean over prompts with its interval over conversations (`bootstrap.py`, of shares
`shares.py`); the `turns` of an interval are the prompts that it is a mean over.

The search's own judge is measured too. Its scores never count as quality, because it chose the
replies and so its scores of them are too high.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import fmean
from typing import Any, Unpack

import numpy as np

from callwise.report.search_view import read_search
from callwise.report.table import Table, percent
from callwise.tuning.judge.items import ReplyItem
from callwise.tuning.judge.labels import simulated_truth
from callwise.tuning.judge.scores import Score, mean_values
from callwise.tuning.panel import measured_panel
from callwise.tuning.row import ReplyKey
from callwise.tuning.statistics.bootstrap import BootstrapOptions, Interval, mean_intervals
from callwise.tuning.statistics.power import ranged
from callwise.tuning.statistics.shares import share_interval

__all__ = [
    "JudgeReliability",
    "judge_reliabilities",
    "reliability_in_words",
    "reliability_of",
    "reliability_table",
    "search_judge_items",
    "search_judge_scores",
]

MIN_REPLIES = 3
"""Least replies to a prompt for a correlation: of two it is always 1 or -1."""

Prompt = tuple[str, int]
ReplyScores = Mapping[str, float]
"""The scores of one pass over a prompt, by reply id."""


@dataclass(frozen=True, slots=True)
class JudgeReliability:
    """The reliability of one judge. Figures that cannot be computed are None.

    Args:
        within_prompt_correlation: of one pass with the truth, in [-1, 1]. 0 where the judge
            scores all replies equal; prompts are left out where the truth does.
        repeat_correlation: of two passes of the judge over the same replies, in [-1, 1]: what
            repeats, true or biased.
        tie_rate: share of pairs of replies to one prompt that one pass scores equal, or
            compares and finds equal, in [0, 1].
        order_consistency: of pairs compared in both orders, the share with the same verdict, in
            [0, 1]. A judge that always takes the first has 0.
        top1_recovery: share of passes whose best reply is the truth's best, in [0, 1]; among
            equals, the chance of a random pick.
        top1_by_lot: the same for a random pick among all replies of the same prompts.
    """

    by: str
    against: str
    prompts: int
    within_prompt_correlation: Interval | None
    repeat_correlation: Interval | None
    tie_rate: Interval | None
    order_consistency: Interval | None
    top1_recovery: Interval | None
    top1_by_lot: Interval | None


def reliability_of(
    scores: Sequence[Score],
    truth: Sequence[Score] = (),
    *,
    level: float = 0.95,
    **options: Unpack[BootstrapOptions],
) -> JudgeReliability:
    """Return the reliability of a judge.

    Args:
        scores: of one judge; at least one.
        truth: a known truth, people's labels, or the scores of a second judge. Several passes
            over one reply are averaged. May be empty.

    Raises:
        ValueError: when the scores are of no judge or of several.
    """
    judges = sorted({score.by for score in scores})
    if len(judges) != 1:
        raise ValueError(f"expected the scores of one judge, got those of {judges or 'none'}")
    passes = _passes(scores)
    known: dict[Prompt, dict[str, float]] = defaultdict(dict)
    for (conversation, turn, reply), value in mean_values(truth).items():
        known[conversation, turn][reply] = value

    def over(figure: Callable[[Prompt], float | None], *, is_share: bool) -> Interval | None:
        values = {prompt: figure(prompt) for prompt in passes}
        return _over_prompts(values, level, is_share=is_share, **options)

    number, share = partial(over, is_share=False), partial(over, is_share=True)
    verdicts = _verdicts(scores)
    return JudgeReliability(
        by=judges[0],
        against=", ".join(sorted({score.by for score in truth})),
        prompts=len(passes),
        within_prompt_correlation=number(
            lambda at: _mean(_correlation(one, known[at]) for one in passes[at])
        ),
        repeat_correlation=number(
            lambda at: _mean(_correlation(*pair) for pair in combinations(passes[at], 2))
        ),
        tie_rate=share(lambda at: _tie_rate(passes[at], verdicts.get(at, {}))),
        order_consistency=share(lambda at: _order_consistency(verdicts.get(at, {}))),
        top1_recovery=share(lambda at: _mean(_top1(one, known[at]) for one in passes[at])),
        top1_by_lot=share(
            lambda at: _mean(_top1(dict.fromkeys(one, 0.0), known[at]) for one in passes[at])
        ),
    )


def _passes(scores: Iterable[Score]) -> dict[Prompt, list[ReplyScores]]:
    """Return the passes over each prompt; several scores of a reply in one pass are averaged."""
    found: dict[Prompt, dict[int, dict[str, list[float]]]] = {}
    for score in scores:
        prompt = found.setdefault((score.conversation, score.turn), {})
        prompt.setdefault(score.repeat, {}).setdefault(score.reply_id, []).append(score.value)
    return {
        prompt: [
            {reply: fmean(values) for reply, values in repeats[repeat].items()}
            for repeat in sorted(repeats)
        ]
        for prompt, repeats in found.items()
    }


Verdicts = dict[tuple[str, str, int], dict[str, int]]
"""By reply, rival and repeat, then by order: 1 for the reply, 0 for a tie, -1 for the rival."""


def _verdicts(scores: Iterable[Score]) -> dict[Prompt, Verdicts]:
    found: dict[Prompt, Verdicts] = {}
    for score in scores:
        # One without an order needed no call: the reply is the reference itself.
        if score.kind == "pairwise" and score.against and score.order:
            middle = (score.scale_low + score.scale_high) / 2
            verdict = int(np.sign(score.value - middle))
            at = score.reply_id, score.against, score.repeat
            prompt = found.setdefault((score.conversation, score.turn), {})
            prompt.setdefault(at, {})[score.order] = verdict
    return found


def _correlation(one: ReplyScores, truth: ReplyScores) -> float | None:
    """Return Pearson's r over the shared replies; None where the truth scores all equal."""
    shared = sorted(set(one) & set(truth))
    if len(shared) < MIN_REPLIES:
        return None
    ours = np.array([one[reply] for reply in shared])
    theirs = np.array([truth[reply] for reply in shared])
    if np.ptp(theirs) == 0:
        return None
    if np.ptp(ours) == 0:
        return 0.0
    return float(np.corrcoef(ours, theirs)[0, 1])


def _tie_rate(passes: Sequence[ReplyScores], verdicts: Verdicts) -> float | None:
    """Return the share of ties, of comparisons where there are any, else of equal scores."""
    if verdicts:
        return fmean(found == 0 for own in verdicts.values() for found in own.values())
    return _mean(
        fmean(a == b for a, b in combinations(one.values(), 2)) if len(one) > 1 else None
        for one in passes
    )


def _order_consistency(verdicts: Verdicts) -> float | None:
    both = [own for own in verdicts.values() if {"first", "second"} <= set(own)]
    return fmean(own["first"] == own["second"] for own in both) if both else None


def _top1(one: ReplyScores, truth: ReplyScores) -> float | None:
    """Return the chance that a best reply of a pass is a best one of the truth."""
    shared = sorted(set(one) & set(truth))
    best_truth = max((truth[reply] for reply in shared), default=0.0)
    if len(shared) < 2 or all(truth[reply] == best_truth for reply in shared):
        return None
    highest = max(one[reply] for reply in shared)
    return fmean(truth[reply] == best_truth for reply in shared if one[reply] == highest)


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _over_prompts(
    values: Mapping[Prompt, float | None],
    level: float,
    *,
    is_share: bool,
    **options: Unpack[BootstrapOptions],
) -> Interval | None:
    """Return the mean over prompts with its interval; None where no prompt has a figure."""
    known = {prompt: value for prompt, value in values.items() if value is not None}
    if not known:
        return None
    panel = measured_panel({"judge": list(known.values())}, [name for name, _ in known])
    found = mean_intervals(panel, level=level, **options)["judge"]
    return share_interval(found, known) if is_share else found


SEARCH_JUDGE = "search judge"


def _candidates(turns: Iterable[Mapping[str, Any]]) -> list[tuple[ReplyItem, float]]:
    """Return the judged candidates of recorded searches as replies, with their mean scores."""
    found: dict[ReplyKey, tuple[ReplyItem, float]] = {}
    for turn in turns:
        record = turn.get("search")
        try:
            nodes = read_search(record).candidates if isinstance(record, Mapping) else ()
        except ValueError:  # the record of another app's search
            nodes = ()
        for node in nodes:
            if node.reply and node.mean_score is not None and node.scores:
                item = ReplyItem(str(turn["conversation_id"]), int(turn["turn"]), "", node.reply)
                found.setdefault(item.key, (item, node.mean_score))
    return [found[key] for key in sorted(found)]


def search_judge_scores(turns: Iterable[Mapping[str, Any]]) -> list[Score]:
    """Return the mean score that the search's judge gave each candidate of recorded turns.

    Args:
        turns: lines of `turns.jsonl`; those without a search tree are ignored.
    """
    return [Score(SEARCH_JUDGE, *item.key, score, 0.0, 1.0) for item, score in _candidates(turns)]


def search_judge_items(turns: Iterable[Mapping[str, Any]]) -> list[ReplyItem]:
    """Return the same candidates as replies, so that a truth can be read of them."""
    return [item for item, _ in _candidates(turns)]


KINDS = ("truth", "human", "referee")
"""Kinds of sources, the most trusted first."""


def _known_better(kind: str, scores: Sequence[Score]) -> list[Score]:
    """Return the scores that a judge is compared with; empty where there are none."""
    for better in KINDS[: KINDS.index(kind) if kind in KINDS else None]:
        source = min((each.by for each in scores if each.source_kind == better), default=None)
        if source is not None:
            return [score for score in scores if score.by == source]
    return []


def judge_reliabilities(
    turns: Sequence[Mapping[str, Any]],
    items: Sequence[ReplyItem],
    scores: Sequence[Score],
    *,
    is_simulated: bool,
    seed: int = 0,
) -> tuple[JudgeReliability, ...]:
    """Return the reliability of the referee and of the search's judge."""
    search = search_judge_scores(turns)
    known = list(scores)
    if is_simulated:
        known += simulated_truth([*items, *search_judge_items(turns)], seed=seed)
    found = []
    for by in sorted({score.by for score in scores if score.source_kind == "referee"}):
        own = [score for score in scores if score.by == by]
        found.append(reliability_of(own, _known_better("referee", known)))
    if search:
        found.append(reliability_of(search, _known_better(SEARCH_JUDGE, known)))
    return tuple(found)


def _figure(name: str, mean: float, low: float | None, high: float | None) -> str:
    """Return a correlation as a number, and anything else, which is a share, as per cent."""
    if name in {"within-prompt correlation", "of two passes"}:
        return ranged(mean, low, high)
    interval = "" if low is None or high is None else f" ({percent(low)} to {percent(high)})"
    return percent(mean) + interval


def _known_figures(judge: JudgeReliability) -> list[tuple[str, str, int]]:
    """Return name, figure and turns of what could be computed."""
    figures = {
        "within-prompt correlation": judge.within_prompt_correlation,
        "of two passes": judge.repeat_correlation,
        "ties": judge.tie_rate,
        "same verdict in both orders": judge.order_consistency,
        "finds the best reply": judge.top1_recovery,
        "a random pick finds it": judge.top1_by_lot,
    }
    return [
        (name, _figure(name, each.mean, each.low, each.high), each.turns)
        for name, each in figures.items()
        if each is not None and each.mean is not None
    ]


def _compared(judge: JudgeReliability) -> str:
    return f"{judge.by} compared with {judge.against}" if judge.against else judge.by


def reliability_table(judge: JudgeReliability) -> Table:
    """Return one judge's figures as a table; those that cannot be computed are left out."""
    rows = _known_figures(judge) or [("nothing to compare it with", "", 0)]
    return Table("judge", f"Judge: {_compared(judge)}", ("measure", "value", "turns"), tuple(rows))


def reliability_in_words(judge: JudgeReliability) -> str:
    """Return the same as a line."""
    known = "; ".join(
        f"{name} {words}, {turns} turns" for name, words, turns in _known_figures(judge)
    )
    return f"{_compared(judge)}: {known or 'nothing to compare it with'}"
