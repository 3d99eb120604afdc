"""How far a judge may be trusted: its scores beside a truth, a second judge, and itself.

Everything is measured within a prompt, which is one turn of one conversation, since replies to
different turns are never up against each other. A judge that knows hard turns from easy ones and
nothing else has a fine correlation over all replies, and none within prompts.

Each figure is a mean over prompts with its interval over conversations (`bootstrap.py`); the
`turns` of an interval are the prompts that it stands on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from turnwise.tune.panel import Panel
from turnwise.tune.quality.joining import mean_values
from turnwise.tune.quality.scores import Score
from turnwise.tune.statistics.bootstrap import DRAWS, Interval, mean_intervals

__all__ = ["MIN_REPLIES", "JudgeReliability", "reliability_of"]

MIN_REPLIES = 3
"""Replies to a prompt that a correlation takes: of two it is 1 or -1, whatever they are."""

Prompt = tuple[str, int]
Look = Mapping[str, float]
"""One look at a prompt: the score of each reply, by reply id."""


@dataclass(frozen=True, slots=True)
class JudgeReliability:
    """What is known of one judge. Figures that cannot be computed are None.

    Args:
        by: the judge.
        against: whose scores stand for the truth; empty without any.
        prompts: prompts that the judge scored at least one reply of.
        within_prompt_correlation: of one look with the truth, in [-1, 1]. 0 where the judge
            tells no reply from another; prompts are left out where the truth tells none.
        repeat_correlation: of two looks of the judge at the same replies, in [-1, 1]: what
            repeats, be it true or bias.
        tie_rate: share of pairs of replies to one prompt that one look scores equal, or
            compares and finds equal, in [0, 1].
        order_consistency: of pairs compared in both orders, the share with the same verdict, in
            [0, 1]. A judge that always takes the first has 0.
        top1_recovery: share of looks whose best reply is the truth's best, in [0, 1]; where
            several share a place, the chance that a pick by lot among them is.
        top1_by_lot: what a pick by lot among all replies would have, on the same prompts.
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
    seed: int = 0,
    draws: int = DRAWS,
) -> JudgeReliability:
    """Return how far a judge may be trusted.

    Args:
        scores: of one judge; at least one.
        truth: what its scores are held against: known truth, people's labels, or a second
            judge. Several looks at one reply are averaged. May be empty.
        level: of the intervals, in (0, 1).
        seed: of the draws.
        draws: how many.

    Raises:
        ValueError: when the scores are of no judge or of several.
    """
    judges = sorted({score.by for score in scores})
    if len(judges) != 1:
        raise ValueError(f"expected the scores of one judge, got those of {judges or 'none'}")
    looks = _looks(scores)
    known: dict[Prompt, dict[str, float]] = defaultdict(dict)
    for (conversation, turn, reply), value in mean_values(truth).items():
        known[conversation, turn][reply] = value

    def over(figure: Callable[[Prompt], float | None]) -> Interval | None:
        values = {prompt: figure(prompt) for prompt in looks}
        return _over_prompts(values, level=level, seed=seed, draws=draws)

    verdicts = _verdicts(scores)
    return JudgeReliability(
        by=judges[0],
        against=", ".join(sorted({score.by for score in truth})),
        prompts=len(looks),
        within_prompt_correlation=over(
            lambda at: _mean(_correlation(look, known[at]) for look in looks[at])
        ),
        repeat_correlation=over(
            lambda at: _mean(_correlation(*pair) for pair in combinations(looks[at], 2))
        ),
        tie_rate=over(lambda at: _tie_rate(looks[at], verdicts.get(at, {}))),
        order_consistency=over(lambda at: _order_consistency(verdicts.get(at, {}))),
        top1_recovery=over(lambda at: _mean(_top1(look, known[at]) for look in looks[at])),
        top1_by_lot=over(
            lambda at: _mean(_top1(dict.fromkeys(look, 0.0), known[at]) for look in looks[at])
        ),
    )


def _looks(scores: Iterable[Score]) -> dict[Prompt, list[Look]]:
    """Return the looks at each prompt; several scores of a reply in one look are averaged."""
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
    """Return what comparisons came to."""
    found: dict[Prompt, Verdicts] = {}
    for score in scores:
        # One without an order was settled unasked: the reply is the reference itself.
        if score.kind == "pairwise" and score.against and score.order:
            middle = (score.scale_low + score.scale_high) / 2
            verdict = int(np.sign(score.value - middle))
            at = score.reply_id, score.against, score.repeat
            prompt = found.setdefault((score.conversation, score.turn), {})
            prompt.setdefault(at, {})[score.order] = verdict
    return found


def _correlation(look: Look, truth: Look) -> float | None:
    """Return Pearson's r over the replies that both know; None where the truth tells none apart."""
    shared = sorted(set(look) & set(truth))
    if len(shared) < MIN_REPLIES:
        return None
    ours = np.array([look[reply] for reply in shared])
    theirs = np.array([truth[reply] for reply in shared])
    if np.ptp(theirs) == 0:
        return None
    if np.ptp(ours) == 0:
        return 0.0
    return float(np.corrcoef(ours, theirs)[0, 1])


def _tie_rate(looks: Sequence[Look], verdicts: Verdicts) -> float | None:
    """Return the share of ties, of comparisons where there are any, else of equal scores."""
    if verdicts:
        return fmean(found == 0 for own in verdicts.values() for found in own.values())
    return _mean(
        fmean(a == b for a, b in combinations(look.values(), 2)) if len(look) > 1 else None
        for look in looks
    )


def _order_consistency(verdicts: Verdicts) -> float | None:
    """Return the share of comparisons in both orders that came to the same."""
    both = [own for own in verdicts.values() if {"first", "second"} <= set(own)]
    return fmean(own["first"] == own["second"] for own in both) if both else None


def _top1(look: Look, truth: Look) -> float | None:
    """Return the chance that a best reply of a look is a best one of the truth."""
    shared = sorted(set(look) & set(truth))
    best_truth = max((truth[reply] for reply in shared), default=0.0)
    if len(shared) < 2 or all(truth[reply] == best_truth for reply in shared):
        return None
    highest = max(look[reply] for reply in shared)
    return fmean(truth[reply] == best_truth for reply in shared if look[reply] == highest)


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _over_prompts(
    values: Mapping[Prompt, float | None], *, level: float, seed: int, draws: int
) -> Interval | None:
    """Return the mean over prompts with its interval; None where no prompt has a figure."""
    known = {prompt: value for prompt, value in values.items() if value is not None}
    if not known:
        return None
    conversations = tuple(dict.fromkeys(conversation for conversation, _ in known))
    place_of = {name: at for at, name in enumerate(conversations)}
    panel = Panel(
        settings=("judge",),
        conversations=conversations,
        conversation_of=np.array([place_of[name] for name, _ in known], dtype=np.intp),
        values=np.array([list(known.values())], dtype=np.float64),
        spread=np.zeros((1, len(known))),
    )
    return mean_intervals(panel, level=level, seed=seed, draws=draws)["judge"]
