"""Thresholds of a cascade of two models, from turns on which each of them has answered alone.

A turn whose confidence reaches the threshold has the small model's reply and price, and every other
one the large model's, and the price of the small model's calls as well. So one recording of each
model alone has every threshold.

The threshold is the cheapest whose loss clears the margin with some caution. For its test it is
chosen on all conversations but a fifth, and applied to that fifth: in the cascade that is compared
with the large model (`CrossedCascade`), no turn had a part in its own threshold. The recommended
one is chosen on all of them. It is a raw confidence, and becomes a chance by the map of all labels
(`confidence.py`); a label is whether the small model's reply was as good as the large one's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.calls.policies.cascade_policy import ConfidenceSource
from callwise.tuning.confidence import FittedConfidence, fit_confidence, folds_of
from callwise.tuning.panel import Panel
from callwise.tuning.routing.table_search import differences_with_parts

__all__ = [
    "CAUTION",
    "GOOD_SHARE",
    "LARGE",
    "CascadeTurns",
    "CrossedCascade",
    "FittedCascade",
    "fit_cascade",
    "threshold_levels",
]

Floats = NDArray[np.float64]

LEVELS = 50
"""Parts of equal counts into which the thresholds that are tried cut the confidences."""

CAUTION = 2.5
"""Standard errors that are added to a loss before it is compared with the margin. The verdict on
the folds needs fewer, so a threshold that was chosen is seldom left undecided."""

GOOD_SHARE = 0.05
"""Share of the scale by which a reply may lie below the large model's and still be as good."""

LARGE = "large alone"
"""The setting of the large model alone in the panels."""

NEVER = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class CascadeTurns:
    """T turns on which the replies with both models' answers are known.

    Args:
        conversation_of: (T,) place of its conversation, from 0.
        confidence: (T,) raw, the least of the turn's questions; NaN where one had none.
        small, large: (T,) quality of the reply with the one and with the other model's answers.
        small_usd, large_usd: (T,) price of that turn.
        checked_usd: (T,) price of the small model's calls and of what measures its confidence.
    """

    conversation_of: NDArray[np.intp]
    confidence: Floats
    small: Floats
    large: Floats
    small_usd: Floats
    large_usd: Floats
    checked_usd: Floats

    @property
    def conversations(self) -> int:
        """Number of conversations."""
        return int(self.conversation_of.max()) + 1 if len(self.conversation_of) else 0

    def of(self, places: NDArray[np.bool_]) -> "CascadeTurns":
        """Return some of the turns, of conversations that are numbered from 0 again."""
        groups = np.unique(self.conversation_of[places], return_inverse=True)[1]
        return CascadeTurns(
            groups.astype(np.intp),
            *(
                each[places]
                for each in (
                    *(self.confidence, self.small, self.large),
                    *(self.small_usd, self.large_usd, self.checked_usd),
                )
            ),
        )

    def outcome(self, is_taken: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return (T,) price and quality where the small model's answers are taken on some turns.

        A turn without a confidence went on to the large model when the small one was asked alone.
        """
        is_small = is_taken | np.isnan(self.confidence)
        usd = np.where(is_small, self.small_usd, self.large_usd + self.checked_usd)
        return usd, np.where(is_small, self.small, self.large)

    def panels(self, thresholds: Mapping[str, float]) -> tuple[Panel, Panel]:
        """Return price and quality of the large model alone, and of cascades by name."""
        takings = {name: self.confidence >= each for name, each in thresholds.items()}
        found = [(self.large_usd, self.large), *(map(self.outcome, takings.values()))]
        return (
            self.panel((LARGE, *takings), [usd for usd, _ in found]),
            self.panel((LARGE, *takings), [quality for _, quality in found]),
        )

    def panel(self, names: Sequence[str], rows: Sequence[Floats]) -> Panel:
        """Return figures of all turns as a panel."""
        values = np.array(rows, dtype=np.float64)
        names_of = tuple(map(str, range(self.conversations)))
        return Panel(tuple(names), names_of, self.conversation_of, values, np.zeros_like(values))


@dataclass(frozen=True, slots=True, eq=False)
class CrossedCascade:
    """A cascade whose thresholds were chosen without the turns that they are applied to.

    Args:
        thresholds: raw, of each fold; infinite where none was good enough and cheaper: there the
            large model is asked alone.
        threshold_of: (T,) that of the turn's fold.
    """

    thresholds: tuple[float, ...]
    threshold_of: Floats

    def outcome(self, turns: CascadeTurns) -> tuple[Floats, Floats]:
        """Return (T,) price and quality of the turns."""
        usd, quality = turns.outcome(turns.confidence >= self.threshold_of)
        is_asked = np.isfinite(self.threshold_of)
        return (
            np.where(is_asked, usd, turns.large_usd),
            np.where(is_asked, quality, turns.large),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedCascade:
    """The map and the threshold of a small model, and what tests them.

    Args:
        fitted: the map of all labels, and its reliability.
        threshold: raw, chosen on all turns; None where none is good enough and cheaper.
        good_share: labels on which the small model's reply is as good.
    """

    fitted: FittedConfidence
    threshold: float | None
    crossed: CrossedCascade
    good_share: float

    @property
    def confidence(self) -> float | None:
        """The threshold as a chance: the knob of the cascade."""
        return None if self.threshold is None else self.chance_of(self.threshold)

    def chance_of(self, threshold: float) -> float:
        """Return the chance of a raw threshold; 0 takes every answer."""
        return self.fitted.calibration.chance_of(threshold) if threshold > 0 else 0.0


def fit_cascade(
    turns: CascadeTurns,
    *,
    margin: float,
    scale_width: float,
    model: str,
    by: ConfidenceSource,
    caution: float = CAUTION,
    seed: int = 0,
) -> FittedCascade:
    """Return the map and threshold that a small model is asked with.

    Args:
        margin: loss of quality that still counts as not worse, in the unit of quality.
        scale_width: of the quality.
        seed: of the folds.

    Raises:
        ValueError: when there are fewer than `MIN_LABELS` turns with a confidence, or all are of
            one conversation.
    """
    is_known = ~np.isnan(turns.confidence)
    labels = (turns.small >= turns.large - GOOD_SHARE * scale_width)[is_known]
    fitted = fit_confidence(
        turns.confidence[is_known].tolist(),
        labels.tolist(),
        [str(each) for each in turns.conversation_of[is_known].tolist()],
        model=model,
        by=by,
        seed=seed,
    )
    fold_of = folds_of(turns.conversation_of, seed)
    thresholds = []
    for fold in range(int(fold_of.max()) + 1):
        others = turns.of(fold_of != fold)
        # The caution of all the data, so that the folds choose as all together do.
        share = math.sqrt(len(others.confidence) / len(fold_of))
        found = _threshold(others, margin, caution * share)
        thresholds.append(NEVER if found is None else found)
    return FittedCascade(
        fitted,
        _threshold(turns, margin, caution),
        CrossedCascade(tuple(thresholds), np.array(thresholds)[fold_of]),
        good_share=float(labels.mean()),
    )


def threshold_levels(confidences: Floats, parts: int) -> list[float]:
    """Return thresholds that cut raw confidences into parts of equal counts, lowest first.

    The first is 0, which takes all. The others lie between two confidences that are there.

    Args:
        confidences: (T,) in [0, 1]; NaN for none.
    """
    seen, counts = np.unique(confidences[~np.isnan(confidences)], return_counts=True)
    below = np.cumsum(counts)[:-1]
    wanted = np.arange(1, parts) * counts.sum() / parts
    places = np.unique(np.searchsorted(below, wanted))
    cuts = [float(seen[at] + seen[at + 1]) / 2 for at in places.tolist() if at < len(below)]
    return [0.0, *cuts]


def _threshold(turns: CascadeTurns, margin: float, caution: float) -> float | None:
    """Return the cheapest threshold whose loss clears the margin; None where none is cheaper."""
    levels = threshold_levels(turns.confidence, LEVELS)
    names = {str(at): each for at, each in enumerate(levels)}
    usd, quality = turns.panels(names)
    costs, _ = differences_with_parts(usd, LARGE, list(names))
    gains, parts = differences_with_parts(quality, LARGE, list(names))
    errors = np.sqrt((parts**2).sum(axis=1))
    is_good = (caution * errors - gains <= margin) & (costs < 0)
    if not is_good.any():
        return None
    # Of equal prices the highest, which takes nothing that another one does not.
    return levels[max(np.flatnonzero(is_good & (costs == costs[is_good].min())).tolist())]
