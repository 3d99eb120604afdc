"""Draws of whole conversations, and the mean over turns in each of them.

The mean over turns is a ratio: the drawn conversations' sum over their number of turns. Both
vary with the draw. A draw's mean alone is too little for an interval of few, unequal and skewed
conversations; its distance in its own standard errors is enough (`bootstrap.py`). A draw takes
whole conversations, so turns are summed once for each conversation, and the cost depends on
settings and conversations, not on turns.

Conversations are drawn once, and every figure uses the same draws: that pairs settings.

An estimated cell is redrawn from its normal in each draw: the panel is completed, and then
conversations are drawn from it. In sums over cells this is one normal for each figure and draw,
so no cell is redrawn one by one. Part of a setting's errors is common to all its cells: no number
of estimated turns determines how a setting does that was never seen (`shared_error`).

Source of the standard error: the linearised ratio, Cochran (1977), Sampling Techniques, 6.
Source of redrawing: multiple imputation, Rubin (1987).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel

__all__ = [
    "ConversationDraws",
    "ConversationSums",
    "Studentised",
    "TurnGroups",
    "require_same_turns",
]

Floats = NDArray[np.float64]

MIN_SE_SHARE = 0.2
"""Least standard error of a draw, as a share of the sample's own.

A draw in which a rare event does not occur has no spread at all, and its distance in standard
errors would be infinite. The floor limits it to 5 sample errors for each one that it lies off.
"""

NEGLIGIBLE = 1e-11
"""Standard error, as a share of the figures' size, that is rounding and no variation."""


@dataclass(frozen=True, slots=True, eq=False)
class ConversationSums:
    """Figures summed over the known turns of each conversation.

    Args:
        value_sums: (F, C) sums of the figures.
        turn_counts: (F, C) known turns, or (1, C) where all F figures know the same turns.
        variance_sums: one (F, C) per side, sums of squared spreads. A mean has one side, a
            difference two; none where every cell of the panel was measured.
        spread_sums: one (F, C) per side, sums of spreads.
        estimated_turns: (F,) known turns with an estimate on either side.
    """

    value_sums: Floats
    turn_counts: Floats
    variance_sums: tuple[Floats, ...]
    spread_sums: tuple[Floats, ...]
    estimated_turns: NDArray[np.intp]

    @property
    def means(self) -> Floats:
        """(F,) mean over known turns; NaN where no turn is known."""
        turns = self.turn_counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = self.value_sums.sum(axis=1) / turns
        return found

    @property
    def turns(self) -> NDArray[np.intp]:
        """(F,) known turns."""
        return self._of_each(self.turn_counts.sum(axis=1))

    @property
    def conversations(self) -> NDArray[np.intp]:
        """(F,) conversations with at least one known turn."""
        return self._of_each((self.turn_counts > 0).sum(axis=1))

    def _of_each(self, counts: NDArray[np.generic]) -> NDArray[np.intp]:
        return np.broadcast_to(counts, (len(self.value_sums),)).astype(np.intp)


class TurnGroups:
    """A panel's turns in the order of their conversations, ready to be summed.

    Conversations without a turn in the panel are left out.
    """

    def __init__(self, panel: Panel) -> None:
        order = np.argsort(panel.conversation_of, kind="stable")
        places = panel.conversation_of[order]
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        values = panel.values[:, order]
        self._starts = starts
        self._is_known = ~np.isnan(values)
        self._values = np.where(self._is_known, values, 0.0)
        self._spread = np.where(self._is_known, panel.spread[:, order], 0.0)
        self.is_estimated = bool(self._spread.any())
        self.conversation_count = len(starts)

    def of_settings(self) -> ConversationSums:
        """Return the sums of every setting, F = S."""
        return self._summed(self._values, self._is_known, (self._spread,))

    def of_differences(self, rows: Sequence[int], control: int) -> ConversationSums:
        """Return the sums of settings less a control, over the turns that both know."""
        places = np.asarray(rows, dtype=np.intp)
        is_known = self._is_known[places] & self._is_known[control]
        values = np.where(is_known, self._values[places] - self._values[control], 0.0)
        if not self.is_estimated:
            return self._summed(values, is_known, ())
        ours = np.where(is_known, self._spread[places], 0.0)
        theirs = np.where(is_known, self._spread[control], 0.0)
        return self._summed(values, is_known, (ours, theirs))

    def _summed(
        self, values: Floats, is_known: NDArray[np.bool_], spreads: tuple[Floats, ...]
    ) -> ConversationSums:
        if (is_known == is_known[:1]).all():
            is_known = is_known[:1]
        used = spreads if self.is_estimated else ()
        is_estimated = np.zeros(values.shape, dtype=bool)
        for each in used:
            is_estimated |= each > 0
        return ConversationSums(
            value_sums=self._by_conversation(values),
            turn_counts=self._by_conversation(is_known.astype(np.float64)),
            variance_sums=tuple(self._by_conversation(each**2) for each in used),
            spread_sums=tuple(self._by_conversation(each) for each in used),
            estimated_turns=is_estimated.sum(axis=1).astype(np.intp),
        )

    def _by_conversation(self, values: Floats) -> Floats:
        if not self.conversation_count:
            return np.zeros((len(values), 0))
        sums: Floats = np.add.reduceat(values, self._starts, axis=1)
        return sums


def require_same_turns(first: Panel, second: Panel) -> None:
    """Raise `ValueError` unless two panels are of the same settings on the same turns."""
    if first.settings != second.settings:
        raise ValueError("expected two panels of the same settings in the same order")
    is_same = first.conversations == second.conversations and np.array_equal(
        first.conversation_of, second.conversation_of
    )
    if not is_same:
        raise ValueError("expected two panels of the same turns in the same order")


@dataclass(frozen=True, slots=True, eq=False)
class Studentised:
    """Figures, and how far draws lie from them.

    Args:
        means: (F,) mean over known turns; NaN where none is known.
        standard_errors: (F,) of the means; 0 where conversations do not vary.
        distances: (F, B) draw's mean less the mean, in standard errors of the draw.
    """

    means: Floats
    standard_errors: Floats
    distances: Floats
    conversations: NDArray[np.intp]
    turns: NDArray[np.intp]
    estimated_turns: NDArray[np.intp]

    @property
    def widening(self) -> Floats:
        """(F,) the factor that widens a one-sided interval of few conversations, at least 1.

        A two-sided interval that misses too often on one side misses less on the other. A
        one-sided one has no other side, so it takes the larger, jackknife-like standard error.
        """
        conversations = np.maximum(self.conversations, 2)
        found: Floats = np.sqrt(conversations / (conversations - 1))
        return found


class ConversationDraws:
    """The same draws for every figure of a panel.

    Args:
        seed: of the draws; at least 0. The same seed and panel give the same bytes.
        draws: how many, B.
        shared_error: share of an estimate's variance that all cells of one setting have in
            common, in [0, 1].
    """

    def __init__(
        self, groups: TurnGroups, *, settings: int, seed: int, draws: int, shared_error: float
    ) -> None:
        count = groups.conversation_count
        # A separate stream: estimated cells must not change the draws of conversations.
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

    def means(self, sums: ConversationSums) -> Floats:
        """Return (S, B) means of every setting in each draw; NaN where nothing known is drawn."""
        drawn_turns = sums.turn_counts @ self._weights
        found = sums.value_sums @ self._weights
        if sums.variance_sums:
            found += self._redrawn(sums, np.arange(len(found)), None)
        with np.errstate(invalid="ignore", divide="ignore"):
            found /= drawn_turns
        return found

    def studentise(
        self, sums: ConversationSums, rows: NDArray[np.intp], control: int | None = None
    ) -> Studentised:
        """Return figures and the distances of draws from them.

        Args:
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

    def _of_conversations(self, sums: ConversationSums) -> tuple[Floats, Floats]:
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
        sums: ConversationSums,
        errors: Floats,
        distances: Floats,
        rows: NDArray[np.intp],
        control: int | None,
    ) -> tuple[Floats, Floats]:
        """Return standard errors and distances with estimates redrawn in each draw.

        They are added to the means of the draws of conversations, instead of being studentised
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

    def _redrawn(
        self, sums: ConversationSums, rows: NDArray[np.intp], control: int | None
    ) -> Floats:
        """Return (F, B) the sums that redrawn estimates add to each draw."""
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
