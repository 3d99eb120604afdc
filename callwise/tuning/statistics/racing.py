"""A race of settings: those that are shown to be worse are dropped while data still come in.

A setting is dropped when another one that costs no more is shown to be better. Repeated tests of
growing data are wrong more often than their level, so the chance of dropping the best setting is
a budget: each interim analysis spends a part of it, by the share of the planned data that is in,
and tests at the level of that part. The parts sum to the budget, so the best setting is dropped
with at most that chance over all analyses, however they depend on each other.

Source: spending functions, Lan and DeMets (1983), Biometrika 70, 659-663, their second one.
We depart from it on the safe side: parts are added up (Bonferroni over analyses) instead of
integrated over the joint distribution, which a bootstrap does not give.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.bootstrap import DRAWS, MIN_CONVERSATIONS, Bootstrap
from callwise.tuning.statistics.cluster_draws import require_same_turns
from callwise.tuning.statistics.comparison import BestComparison, compare_with_best
from callwise.tuning.statistics.critical import common_factor, critical_values_of, width_of

__all__ = ["MIN_CONVERSATIONS_TO_COMPARE", "Dropped", "SettingRace", "spent_alpha"]

ALPHA = 0.05
"""Chance, over all interim analyses, that the best setting is dropped."""

MIN_CONVERSATIONS_TO_COMPARE = 10
"""Fewer conversations do not resolve tails as thin as the part of one interim analysis."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A setting that left the race.

    Args:
        beaten_by: one that costs no more and is shown to be better.
        analysis: number of the interim analysis. Starts at 1.
    """

    setting: str
    beaten_by: str
    analysis: int
    conversations: int


@dataclass(frozen=True, slots=True)
class SettingRace:
    """Settings, and those that are still worth running; immutable, with ask and tell.

    Args:
        max_conversations: how many are planned in all; at least 1. Analyses past the plan
            spend nothing more, and drop nothing.
        alpha: chance, over all analyses, that the best setting is dropped, in (0, 1).
    """

    settings: tuple[str, ...]
    max_conversations: int
    alpha: float = ALPHA
    dropped: tuple[Dropped, ...] = ()
    analyses: int = 0
    alpha_spent: float = 0.0

    def __post_init__(self) -> None:
        """Raise `ValueError` for a value out of range, or two settings of one name."""
        if self.max_conversations < 1:
            raise ValueError(f"expected at least 1 conversation, got {self.max_conversations}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, got {self.alpha}")
        if len(set(self.settings)) != len(self.settings):
            raise ValueError("expected settings of different names")

    def ask(self) -> tuple[str, ...]:
        """Return the settings to run on the next conversations."""
        gone = {each.setting for each in self.dropped}
        return tuple(name for name in self.settings if name not in gone)

    def tell(
        self, cost: Panel, quality: Panel, *, seed: int = 0, draws: int = DRAWS
    ) -> "SettingRace":
        """Return the race after an analysis of all conversations so far.

        Args:
            cost: a figure to spend less of; of all conversations so far.
            quality: of the same settings and turns; higher is better. Settings that were
                dropped may be missing, or NaN.

        Raises:
            ValueError: when the panels are not of the same turns, or miss a running setting.
        """
        require_same_turns(cost, quality)
        running = self.ask()
        missing = sorted(set(running) - set(quality.settings))
        if missing:
            raise ValueError(f"the panels have no rows of {missing[0]!r}, which is still running")
        conversations = len(np.unique(quality.conversation_of))
        after = replace(self, analyses=self.analyses + 1)
        if conversations < MIN_CONVERSATIONS_TO_COMPARE or len(running) < 2:
            return after
        spent = spent_alpha(self.alpha, conversations / self.max_conversations)
        part = spent - self.alpha_spent
        if part <= 0:
            return after
        compared = compare_with_best(
            _only(quality, running), level=1 - part, seed=seed, draws=draws
        )
        beaten = _beaten(_only(cost, running), compared, part, seed=seed, draws=draws)
        now = tuple(Dropped(name, by, after.analyses, conversations) for name, by in beaten.items())
        return replace(after, dropped=self.dropped + now, alpha_spent=spent)


def spent_alpha(alpha: float, share: float) -> float:
    """Return how much of alpha may be used by now, about evenly over the data.

    Args:
        share: of the planned conversations that are in; at least 0, and more than 1 is 1.
    """
    return alpha * math.log(1 + (math.e - 1) * min(share, 1.0))


def _only(panel: Panel, settings: tuple[str, ...]) -> Panel:
    rows = [panel.settings.index(name) for name in settings]
    return replace(panel, settings=settings, values=panel.values[rows], spread=panel.spread[rows])


def _beaten(
    cost: Panel, compared: BestComparison, part: float, *, seed: int, draws: int
) -> dict[str, str]:
    """Return the settings shown to be worse than one that is shown to cost no more, with that one.

    A setting may beat another and be dropped in the same analysis: its own rival beats both.
    """
    bootstrap = Bootstrap(cost, seed=seed, draws=draws)
    places = [bootstrap.place_of[name] for name in compared.settings]
    beaten: dict[str, str] = {}
    for column, name in enumerate(compared.settings):
        is_better = compared.lower_bound[:, column] > 0
        is_better[column] = False
        if not is_better.any():
            continue
        found = bootstrap.of_differences(places, places[column])
        # Lower bound of what this one costs more than each other, for all of them together.
        critical = critical_values_of(-found.distances, part)
        factor = common_factor(-found.distances, critical, 1 - part, is_lower_only=True)
        more = -found.means - width_of(
            critical.down, found.standard_errors, factor * found.widening
        )
        is_enough = found.conversations >= MIN_CONVERSATIONS
        rivals = np.flatnonzero(is_better & is_enough & (more >= 0))
        if len(rivals):
            best = rivals[np.argmax(compared.differences[rivals, column])]
            beaten[name] = compared.settings[best]
    return {name: by for name, by in beaten.items() if _has_survivor(name, beaten)}


def _has_survivor(name: str, beaten: Mapping[str, str]) -> bool:
    """Return whether the chain of settings that beat each other ends in one that stays.

    It always does where all settings know the same turns. Over different turns there can be
    rings, and none is dropped because of a ring.
    """
    met: set[str] = set()
    while name in beaten and name not in met:
        met.add(name)
        name = beaten[name]
    return name not in beaten
