"""Bias of a recorded judge: what is left of its errors once all its recorded calls are averaged.

Noise averages out over calls; what remains is bias. The measure is what a search needs of a judge:
the true quality of the candidate with the best mean score over all recorded calls, among `n`
candidates drawn at random. With a judge that errs by noise alone it rises with `n`. Where it
falls, the best score of many is more often a fault that suits the judge than quality, though
most pairs may be in the right order; reading more candidates then makes the pick worse, however
often they are read. Nothing is drawn: the mean over all choices of `n` is exact.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.pools import Half, Pool, PoolPrompt
from lats.answers import Verdict

__all__ = ["SIZES", "JudgeBias", "best_of", "measure_bias"]

Floats = NDArray[np.float64]

SIZES = (2, 3, 4, 6, 8, 12, 25, 50, 100)
"""Numbers of candidates that are read, as far as a record has so many."""

FALL = 0.05
"""Share of the gap by which the measure must fall to count; less may be the choice of prompts."""

MAX_CALLS = 500
"""Recorded calls of a judge that are read for a prompt; no record has as many."""

_ALL = 1_000_000
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class JudgeBias:
    """A pool's judge, on the prompts whose candidates are not all equally good.

    Args:
        pool: its name.
        prompts: that were measured.
        pairs_one: share of pairs of unequal truth that one call puts in the right order, mean over
            calls and prompts; a pair of equal or missing scores counts half.
        pairs_all: the same by the mean of all recorded calls.
        best_of: by number of candidates read, the true quality of the one with the best mean score,
            as a share of the gap.
        wrong_checks: share of the judge's checks that most of the best candidates fail; NaN for
            a judge without checks.
    """

    pool: str
    prompts: int
    pairs_one: float
    pairs_all: float
    best_of: Mapping[int, float]
    wrong_checks: float

    @property
    def peak(self) -> int:
        """Number of candidates at which the measure is highest."""
        return max(self.best_of, key=lambda count: self.best_of[count])

    @property
    def last(self) -> int:
        """Largest number of candidates."""
        return max(self.best_of)

    @property
    def falls(self) -> bool:
        """Whether reading all candidates is worse than reading fewer."""
        return self.best_of[self.peak] - self.best_of[self.last] > FALL


def best_of(scores: Floats, truths: Floats, count: int) -> float:
    """Return the mean truth of the best-scored of `count` candidates, over all choices of them.

    Ties are broken by lot. A candidate without a score (NaN) loses against all others.

    Args:
        scores: (candidates,).
        truths: of the same.
        count: from 1 to all of them.

    Raises:
        ValueError: when there are not so many.
    """
    if not 1 <= count <= len(scores):
        raise ValueError(f"{count} of {len(scores)} candidates cannot be chosen")
    ranked = np.where(np.isnan(scores), -math.inf, np.round(scores, 9))
    ways, below, total = math.comb(len(scores), count), 0, 0.0
    for level in np.unique(ranked):
        own = ranked == level
        upto = below + int(own.sum())
        chance = (math.comb(upto, count) - math.comb(below, count)) / ways
        total += chance * float(truths[own].mean())
        below = upto
    return total


def measure_bias(pool: Pool, half: Half) -> JudgeBias:
    """Return how a pool's judge errs once noise is averaged out.

    Args:
        pool: of whole answers.
        half: whose prompts are read to the end.

    Raises:
        ValueError: when all candidates of every prompt are equally good.
    """
    read = [_read(pool.prompt(prompt_id, 0)) for prompt_id in pool.half(half)]
    read = [each for each in read if np.ptp(each.truths) > _SAME]
    if not read:
        raise ValueError(f"{pool.name}: no prompt has candidates that differ")
    means = [each.mean_scores for each in read]
    wrong = [is_wrong for each in read for is_wrong in each.wrong_checks]
    gap = np.mean([each.truths.max() - each.truths.mean() for each in read])
    gains = {
        count: [
            best_of(mean, each.truths, count) - each.truths.mean()
            for mean, each in zip(means, read, strict=True)
        ]
        for count in SIZES
        if all(count <= len(each.truths) for each in read)
    }
    one = [np.mean([_pairs(call, each.truths) for call in each.scores]) for each in read]
    every = [_pairs(mean, each.truths) for mean, each in zip(means, read, strict=True)]
    return JudgeBias(
        pool=pool.name,
        prompts=len(read),
        pairs_one=float(np.mean(one)),
        pairs_all=float(np.mean(every)),
        best_of={count: float(np.mean(gain) / gap) for count, gain in gains.items()},
        wrong_checks=float(np.mean(wrong)) if wrong else math.nan,
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """A prompt's candidates and all that its judge ever gave for them.

    Args:
        truths: (candidates,).
        scores: (calls, candidates), at least one call; NaN where there is none.
        wrong_checks: whether most of the best candidates fail a check, check by check.
    """

    truths: Floats
    scores: Floats
    wrong_checks: list[bool]

    @property
    def mean_scores(self) -> Floats:
        """Mean over calls; NaN for a candidate that never got a score, (candidates,)."""
        counts = (~np.isnan(self.scores)).sum(axis=0)
        sums = np.nansum(self.scores, axis=0)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _read(prompt: PoolPrompt) -> _Read:
    items = prompt.generate(_ALL)
    calls: list[list[Verdict | None]] = []
    while len(calls) < MAX_CALLS:
        before = prompt.exhausted
        verdicts = prompt.judge(items)
        if prompt.exhausted > before:
            break
        calls.append(verdicts)
    prompt.close()
    truths = np.array(prompt.truths_seen(items))
    scores = np.full((max(len(calls), 1), len(items)), np.nan)
    best = np.flatnonzero(truths >= truths.max() - _SAME)
    wrong: list[bool] = []
    for row, call in zip(scores, calls, strict=False):
        for place, verdict in enumerate(call):
            if verdict is not None and verdict.score is not None:
                row[place] = verdict.score
        passed = Counter(name for place in best for name in _passed(call[place]))
        named = dict.fromkeys(name for verdict in call if verdict for name in verdict.checks)
        wrong += [passed[name] < len(best) / 2 for name in named]
    return _Read(truths, scores, wrong)


def _passed(verdict: Verdict | None) -> list[str]:
    return [name for name, is_passed in verdict.checks.items() if is_passed] if verdict else []


def _pairs(scores: Floats, truths: Floats) -> float:
    """Return the share of pairs of unequal truth that scores put in the right order.

    Equal scores, and a score next to none, count half.
    """
    first, second = np.triu_indices(len(truths), 1)
    differ = np.abs(truths[first] - truths[second]) > _SAME
    first, second = first[differ], second[differ]
    gaps = np.nan_to_num(scores[first] - scores[second], nan=0.0)
    right = np.sign(np.where(np.abs(gaps) > _SAME, gaps, 0.0)) * np.sign(
        truths[first] - truths[second]
    )
    return float(((right + 1) / 2).mean())
