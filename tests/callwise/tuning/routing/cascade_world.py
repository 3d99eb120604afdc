"""A simulated world of a small and a large model, whose best cascade is known.

Every number here is assumed. The small model's answer is good with a chance of its turn, which
differs between conversations; a bad one costs the reply some quality. Both replies have the quality
of their turn, and noise of the reply and its judge. A raw confidence claims too much and is noisy.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from callwise.tuning.panel import Panel
from callwise.tuning.routing.cascade_thresholds import (
    CascadeTurns,
    FittedCascade,
    fit_cascade,
)
from callwise.tuning.statistics.bootstrap import Interval, paired_difference
from callwise.tuning.statistics.recommendation import recommend

__all__ = ["MARGIN", "CascadeWorld", "Pick", "tuned_pick"]

MARGIN = 0.01


@dataclass(frozen=True)
class CascadeWorld:
    """Dependence of quality, confidence and price on a turn. The scale of quality is 1 wide.

    Args:
        loss: quality that a bad answer costs.
        noise: SD of a reply's and its judge's noise.
        blur: SD of the noise of a raw confidence.
        always: share of turns on which the small model is good, whatever its confidence.
        small_usd: price of the small model's calls in those of the large one.
    """

    loss: float = 0.2
    noise: float = 0.05
    blur: float = 0.04
    always: float = 0.0
    small_usd: float = 0.1

    def record(self, seed: int, conversations: int) -> CascadeTurns:
        """Return the turns of a recording, 3 to 15 a conversation."""
        rng = np.random.default_rng(seed)
        of = np.repeat(np.arange(conversations), rng.integers(3, 16, conversations))
        count = len(of)
        own = rng.beta(2.2, 0.5, count) + 0.08 * rng.normal(size=conversations)[of]
        chance = np.clip(own, 0.02, 0.999)
        is_good = rng.uniform(size=count) < np.maximum(chance, self.always)
        base = 0.8 + 0.05 * rng.normal(size=conversations)[of]
        tokens = rng.lognormal(-0.125, 0.5, count)
        return CascadeTurns(
            of,
            np.clip(chance**0.4 + self.blur * rng.normal(size=count), 0, 1),
            base - self.loss * ~is_good + self.noise * rng.normal(size=count),
            base + self.noise * rng.normal(size=count),
            self.small_usd * tokens,
            tokens,
            self.small_usd * tokens,
        )

    @cached_property
    def population(self) -> CascadeTurns:
        """Many thousands of turns, whose means are the truth."""
        return self.record(10**6, 12_000)

    def truth(self, found: FittedCascade) -> tuple[float, float]:
        """Return price and quality of a cascade, each less that of the large model alone."""
        assert found.confidence is not None
        turns, map_of = self.population, found.fitted.calibration
        chances = np.interp(turns.confidence, map_of.raw, map_of.chance)
        return _less(turns, chances >= found.confidence)

    @cached_property
    def cheapest(self) -> float:
        """Price of the best cascade within the margin, less that of the large model; 0: none."""
        turns = self.population
        cuts = np.quantile(turns.confidence, np.linspace(0, 1, 201))
        found = [_less(turns, turns.confidence >= cut) for cut in cuts]
        return min((usd for usd, quality in found if quality >= -MARGIN), default=0.0)


def _less(turns: CascadeTurns, is_taken) -> tuple[float, float]:
    usd, quality = turns.outcome(is_taken)
    return float((usd - turns.large_usd).mean()), float((quality - turns.large).mean())


@dataclass(frozen=True, slots=True)
class Pick:
    """The pick of one recording, compared with the truth.

    Args:
        threshold: recommended; None where none is shown.
        is_within: whether its true loss is within the margin.
        saved: its true saving as a share of that of the best cascade.
        quality, usd: whether the intervals of the folds contain the true differences.
    """

    threshold: float | None
    is_within: bool | None
    saved: float | None
    quality: bool | None
    usd: bool | None


def tuned_pick(world: CascadeWorld, seed: int, conversations: int) -> Pick:
    """Return the pick of a recording, as `callwise tune --cascade` makes it."""
    turns = world.record(seed, conversations)
    found = fit_cascade(
        turns, margin=MARGIN, scale_width=1.0, model="small", by="logprobs", seed=seed
    )
    if found.threshold is None:
        return Pick(None, None, None, None, None)
    usd, quality = found.crossed.outcome(turns)
    names = ("large", "cascade")
    costs = turns.panel(names, [turns.large_usd, usd])
    qualities = turns.panel(names, [turns.large, quality])
    verdict = recommend(costs, qualities, margin_share=MARGIN, scale_width=1.0)
    true_usd, true_quality = world.truth(found)
    is_shown = verdict.is_shown and verdict.chosen == "cascade"
    return Pick(
        found.threshold if is_shown else None,
        true_quality >= -MARGIN if is_shown else None,
        true_usd / world.cheapest if is_shown and world.cheapest else None,
        _contains(qualities, true_quality),
        _contains(costs, true_usd),
    )


def _contains(panel: Panel, truth: float) -> bool:
    found: Interval = paired_difference(panel, "cascade", "large")
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high
