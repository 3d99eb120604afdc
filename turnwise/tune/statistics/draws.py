"""Draws of whole conversations, and what a mean over turns becomes in each of them.

The mean over turns is a ratio: the drawn conversations' sum over their number of turns. Both
vary with the draw. A draw's mean alone is too little to build an interval of few, unequal and
skewed conversations on; its distance in its own standard errors is enough (`bootstrap.py`).

Conversations are drawn once, and every figure sees the same draws: that is what pairs settings.

An estimated cell is redrawn from its normal in each draw: the panel is completed anew, and then
conversations are drawn from it. In sums over cells this is one normal for each figure and draw,
so no cell is ever redrawn one by one. Part of a setting's errors is common to all its cells: no
number of estimated turns says how a setting does that was never seen (`shared_error`).

Source of the standard error: the linearised ratio, Cochran (1977), Sampling Techniques, 6.
Source of redrawing: multiple imputation, Rubin (1987).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnwise.tune.statistics.cluster_sums import ClusterSums, TurnGroups

__all__ = ["MIN_SE_SHARE", "ConversationDraws", "Studentised"]

Floats = NDArray[np.float64]

MIN_SE_SHARE = 0.2
"""Least standard error of a draw, as a share of the sample's own.

A draw in which a rare event does not occur has no spread at all, and its distance in standard
errors would be infinite. The floor bounds it at 5 sample errors for each one that it lies off.
"""

NEGLIGIBLE = 1e-11
"""Standard error, as a share of the figures' size, that is rounding and no variation."""


@dataclass(frozen=True, slots=True, eq=False)
class Studentised:
    """Figures, and how far draws lie from them.

    Args:
        means: (F,) mean over known turns; NaN where none is known.
        standard_errors: (F,) of the means; 0 where conversations do not vary.
        distances: (F, B) draw's mean less the mean, in standard errors of the draw.
        conversations: (F,) with a known turn.
        turns: (F,) known, estimates included.
        estimated_turns: (F,) of these, estimates.
    """

    means: Floats
    standard_errors: Floats
    distances: Floats
    conversations: NDArray[np.intp]
    turns: NDArray[np.intp]
    estimated_turns: NDArray[np.intp]

    @property
    def widening(self) -> Floats:
        """(F,) what a one-sided bound of few conversations is moved out by, at least 1.

        An interval that misses on one side often holds by missing less on the other. A bound
        has no other side, so it takes the larger, jackknife-like standard error.
        """
        conversations = np.maximum(self.conversations, 2)
        found: Floats = np.sqrt(conversations / (conversations - 1))
        return found


class ConversationDraws:
    """The same draws for every figure of a panel.

    Args:
        groups: the panel's turns by conversation.
        settings: how many settings the panel has.
        seed: of the draws; at least 0. The same seed and panel give the same bytes.
        draws: how many, B.
        shared_error: share of an estimate's variance that all cells of one setting have in
            common, in [0, 1].
    """

    def __init__(
        self, groups: TurnGroups, *, settings: int, seed: int, draws: int, shared_error: float
    ) -> None:
        count = groups.conversation_count
        # Streams of their own: whether cells are estimated must not change what is drawn.
        drawing, erring = (np.random.default_rng([seed, stream]) for stream in (0, 1))
        self._weights: Floats = np.zeros((count, draws))
        if count:
            drawn = drawing.multinomial(count, np.full(count, 1 / count), size=draws)
            self._weights[:] = drawn.T
        self._squared_weights = self._weights**2 if groups.is_estimated else self._weights
        self._shared_error = shared_error
        self._normals: Floats = np.zeros((2, 0, draws))
        if groups.is_estimated:
            self._normals = erring.standard_normal((2, settings, draws))

    def means(self, sums: ClusterSums) -> Floats:
        """Return (S, B) means of every setting in each draw; NaN where nothing known is drawn."""
        drawn_turns = sums.turn_counts @ self._weights
        found = sums.value_sums @ self._weights
        if sums.variance_sums:
            found += self._redrawn(sums, np.arange(len(found)), None)
        with np.errstate(invalid="ignore", divide="ignore"):
            found /= drawn_turns
        return found

    def studentise(
        self, sums: ClusterSums, rows: NDArray[np.intp], control: int | None = None
    ) -> Studentised:
        """Return figures and the distances of draws from them.

        Args:
            sums: of F figures.
            rows: (F,) places of the settings that they are of.
            control: place of the setting that was taken off; None for means.
        """
        errors, distances = self._of_conversations(sums)
        if sums.variance_sums:
            errors, distances = self._with_estimates(sums, errors, distances, rows, control)
        return Studentised(
            means=sums.means,
            standard_errors=errors,
            distances=distances,
            conversations=sums.conversations,
            turns=sums.turns,
            estimated_turns=sums.estimated_turns,
        )

    def _of_conversations(self, sums: ClusterSums) -> tuple[Floats, Floats]:
        """Return (F,) standard errors and (F, B) distances, from drawing conversations alone."""
        counts = sums.turn_counts
        residuals = sums.value_sums - np.nan_to_num(sums.means)[:, None] * counts
        freedom = np.maximum(sums.conversations, 2)
        correction = np.sqrt(freedom / (freedom - 1))
        turns = np.maximum(counts.sum(axis=1), 1)
        errors = correction * np.sqrt((residuals**2).sum(axis=1)) / turns
        size = np.abs(sums.value_sums).sum(axis=1) / turns
        errors = np.where(errors > NEGLIGIBLE * size, errors, 0.0)
        # Turns cancel between how far a draw lies off and its error: both are left as sums.
        moved = residuals @ self._weights
        scale = np.sqrt(_variance_sums(residuals, counts, moved, self._weights))
        scale *= correction[:, None]
        np.maximum(scale, MIN_SE_SHARE * errors[:, None] * (counts @ self._weights), out=scale)
        is_moving = (scale > 0) & (errors > 0)[:, None]
        return errors, np.divide(moved, scale, out=np.zeros_like(moved), where=is_moving)

    def _with_estimates(
        self,
        sums: ClusterSums,
        errors: Floats,
        distances: Floats,
        rows: NDArray[np.intp],
        control: int | None,
    ) -> tuple[Floats, Floats]:
        """Return standard errors and distances with estimates redrawn in each draw.

        They are added to what the draws of conversations come to, instead of being studentised
        with it, so that errors of estimates can only widen an interval.
        """
        turns = np.maximum(sums.turn_counts.sum(axis=1), 1)
        variances = np.zeros(len(errors))
        for own, spreads in zip(sums.variance_sums, sums.spread_sums, strict=True):
            # In a draw a conversation counts its number squared, which is 2 on average.
            variances += 2 * (1 - self._shared_error) * own.sum(axis=1)
            variances += self._shared_error * spreads.sum(axis=1) ** 2
        widened: Floats = np.hypot(errors, np.sqrt(variances) / turns)
        drawn_turns = sums.turn_counts @ self._weights
        redrawn = self._redrawn(sums, rows, control)
        np.divide(redrawn, drawn_turns, out=redrawn, where=drawn_turns > 0)
        redrawn += distances * errors[:, None]
        is_varying = np.broadcast_to((widened > 0)[:, None], redrawn.shape)
        np.divide(redrawn, widened[:, None], out=redrawn, where=is_varying)
        return widened, redrawn

    def _redrawn(self, sums: ClusterSums, rows: NDArray[np.intp], control: int | None) -> Floats:
        """Return (F, B) what redrawn estimates add to each draw's sum."""
        found = np.zeros((len(sums.value_sums), self._weights.shape[1]))
        sides = ((rows, 1.0), (control, -1.0))
        pairs = zip(sums.variance_sums, sums.spread_sums, strict=True)
        for (variances, spreads), (place, sign) in zip(pairs, sides, strict=False):
            own = (1 - self._shared_error) * (variances @ self._squared_weights)
            shared = np.sqrt(self._shared_error) * (spreads @ self._weights)
            found += sign * (
                np.sqrt(own) * self._normals[0, place] + shared * self._normals[1, place]
            )
        return found


def _variance_sums(residuals: Floats, counts: Floats, moved: Floats, weights: Floats) -> Floats:
    """Return (F, B) squared residuals of each draw, taken from the draw's own mean, summed.

    Written out from residuals of the sample, so that large means do not cancel what little
    varies.

    Args:
        residuals: (F, C) of sums from the sample's mean.
        counts: (F, C) or (1, C) turns.
        moved: (F, B) sum of residuals in each draw.
        weights: (C, B) how often each conversation is in a draw.
    """
    drawn_turns = counts @ weights
    shift = np.divide(moved, drawn_turns, out=np.zeros_like(moved), where=drawn_turns > 0)
    cross = (2 * residuals * counts) @ weights
    cross -= shift * (counts**2 @ weights)
    cross *= shift
    found: Floats = residuals**2 @ weights
    found -= cross
    return np.maximum(found, 0.0, out=found)
