"""The simulator compared with a recorded pool: the same judge quality, the same policies.

A pool's judge is measured on the tuning half: how one score correlates with the truth
within a prompt, how two scores of one candidate correlate, and how often a request gives
nothing. The simulator is given these three and the number of candidates that the pool
has, and no refinement gain, since recorded replies have no children. Everything else
stays as it is: normal qualities, a normal bias and noise, drift, a bias for places.

Both sides are shown as a share of the gap from random to oracle, their only common unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.comparing import Comparison
from benchmarks.search.pools import Pool
from benchmarks.search.simulated_setting import SimulatedSetting

__all__ = ["JudgeFigures", "TrustRow", "measured", "setting_like", "trust_rows"]

Floats = NDArray[np.float64]

MAX_READ = 24
"""Candidates of a prompt that are read to measure its judge."""

_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """Readings of a pool's judge on the tuning half.

    Args:
        accuracy: within-prompt correlation of one score with the truth.
        reliability: within-prompt correlation of two scores of one candidate.
        unjudged_rate: share of judge requests that gave no score.
        candidates: recorded candidates a prompt, the mean, rounded.
    """

    accuracy: float
    reliability: float
    unjudged_rate: float
    candidates: int


def _read(pool: Pool, prompt_id: str) -> tuple[Floats, Floats, int]:
    """Return a prompt's truths, two rounds of scores [2, candidate] (NaN: none), and its size."""
    prompt = pool.prompt(prompt_id, 0)
    items = prompt.generate(_ALL)
    read = items[:MAX_READ]
    scores = np.full((2, len(read)), np.nan)
    for look in range(2):
        for place, verdict in enumerate(prompt.judge(read)):
            if verdict is not None and verdict.score is not None:
                scores[look, place] = verdict.score
    prompt.close()
    truths = np.array(prompt.truths_seen(read))
    return truths, scores, len(items)


def _within(left: Sequence[Floats], right: Sequence[Floats]) -> float:
    """Return the correlation of paired values after each prompt's means are taken out."""
    both, first, second = 0.0, 0.0, 0.0
    for x, y in zip(left, right, strict=True):
        known = ~(np.isnan(x) | np.isnan(y))
        if known.sum() < 2:
            continue
        a, b = x[known] - x[known].mean(), y[known] - y[known].mean()
        both, first, second = both + a @ b, first + a @ a, second + b @ b
    return float(both / math.sqrt(first * second)) if first and second else 0.0


def measured(pool: Pool) -> JudgeFigures:
    """Return how a pool's judge reads its candidates, on the tuning half only.

    Raises:
        ValueError: when no two scores of any prompt can be compared.
    """
    read = [_read(pool, prompt_id) for prompt_id in pool.half("tuning")]
    truths = [each[0] for each in read]
    first, second = [each[1][0] for each in read], [each[1][1] for each in read]
    passes = [each_pass for each in read for each_pass in each[1]]
    if all(np.isnan(each).all() for each in passes):
        raise ValueError(f"{pool.name}: no judge request of the tuning half gave a score")
    accuracy = (_within(first, truths) + _within(second, truths)) / 2
    return JudgeFigures(
        accuracy=accuracy,
        reliability=_within(first, second),
        unjudged_rate=float(np.mean([np.isnan(each).all() for each in passes])),
        candidates=round(float(np.mean([each[2] for each in read]))),
    )


def setting_like(figures: JudgeFigures) -> SimulatedSetting:
    """Return the simulator's setting with a recorded judge's figures.

    A reliability below the square of the accuracy cannot be; it is raised to that.
    """
    return SimulatedSetting(
        accuracy=min(max(figures.accuracy, 0.0), 1.0),
        similarity=0.0,
        gain=None,
        reliability=min(max(figures.reliability, 0.0), 1.0),
        candidates=figures.candidates,
        is_rounded=False,
        unjudged_rate=figures.unjudged_rate,
    )


@dataclass(frozen=True, slots=True)
class TrustRow:
    """One policy at one cap, recorded and simulated, as shares of the gap.

    Args:
        pool: the recorded pool.
        policy: the policy's label.
        cap: requests that it was allowed.
        recorded: (quality - random) / (oracle - random) in the recorded pool.
        low: lower end of its 95 % interval.
        high: upper end.
        simulated: the same in the simulator.
    """

    pool: str
    policy: str
    cap: int
    recorded: float
    low: float
    high: float
    simulated: float

    @property
    def is_inside(self) -> bool:
        """Whether the simulated value lies in the recorded one's interval."""
        return self.low <= self.simulated <= self.high


def trust_rows(recorded: Sequence[Comparison], simulated: Sequence[Comparison]) -> list[TrustRow]:
    """Return the lines that stand in both, in the order of the recorded ones."""
    theirs = {(row.policy, row.cap): row for row in simulated}
    return [
        TrustRow(
            pool=row.pool,
            policy=row.policy,
            cap=row.cap,
            recorded=row.share.mean,
            low=row.share.low,
            high=row.share.high,
            simulated=theirs[row.policy, row.cap].share.mean,
        )
        for row in recorded
        if (row.policy, row.cap) in theirs and row.is_reported
    ]
