"""Sums of a panel over each conversation: all that a draw of conversations needs.

A draw takes whole conversations, so a turn is never looked at again once its conversation is
summed. What this costs depends on settings and conversations, not on turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnwise.tune.panel import Panel

__all__ = ["ClusterSums", "TurnGroups", "require_same_turns"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSums:
    """Figures summed over the known turns of each conversation.

    Args:
        value_sums: (F, C) sums of the figures.
        turn_counts: (F, C) known turns, or (1, C) where all F figures know the same turns.
        variance_sums: one (F, C) a side, sums of squared spreads. A mean has one side, a
            difference two; none where every cell of the panel was measured.
        spread_sums: one (F, C) a side, sums of spreads.
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

    Conversations without a turn in the panel are no data and are left out.

    Args:
        panel: the panel. It is read, never changed.
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

    def of_settings(self) -> ClusterSums:
        """Return the sums of every setting, F = S."""
        return self._summed(self._values, self._is_known, (self._spread,))

    def of_differences(self, rows: Sequence[int], control: int) -> ClusterSums:
        """Return the sums of settings less a control, over the turns that both know.

        Args:
            rows: places of the settings; F of them.
            control: place of the control.
        """
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
    ) -> ClusterSums:
        if (is_known == is_known[:1]).all():
            is_known = is_known[:1]
        used = spreads if self.is_estimated else ()
        is_estimated = np.zeros(values.shape, dtype=bool)
        for each in used:
            is_estimated |= each > 0
        return ClusterSums(
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
    """Hold that two panels are of the same settings on the same turns.

    Raises:
        ValueError: when they are not.
    """
    if first.settings != second.settings:
        raise ValueError("expected two panels of the same settings in the same order")
    is_same = first.conversations == second.conversations and np.array_equal(
        first.conversation_of, second.conversation_of
    )
    if not is_same:
        raise ValueError("expected two panels of the same turns in the same order")
