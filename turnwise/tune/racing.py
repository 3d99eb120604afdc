"""Which settings may be dropped while conversations still come in.

A setting is dropped when another one that costs no more is shown to be better. Who looks again
and again at growing data is wrong more often than he thinks, so the chance of dropping the best
setting by mistake is a budget: each look spends a part of it, by how much of the planned data
is in, and tests at the level of that part alone. The parts sum to the budget, so the best
setting is dropped with at most that chance over all looks, however they depend on each other.

Source: spending functions, Lan and DeMets (1983), Biometrika 70, 659-663, their second one.
We depart from it on the safe side: parts are added up (Bonferroni over looks) instead of
integrated over the looks' joint distribution, which a bootstrap does not give.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from turnwise.tune.best import BestComparison, compare_with_best
from turnwise.tune.bootstrap import DRAWS, Bootstrap
from turnwise.tune.cluster_sums import require_same_turns
from turnwise.tune.critical import reach_of, width_of
from turnwise.tune.panel import Panel

__all__ = ["ALPHA", "MIN_LOOK_CONVERSATIONS", "Dropped", "Race", "spent_alpha"]

ALPHA = 0.05
"""Chance, over all looks, that the best setting is dropped."""

MIN_LOOK_CONVERSATIONS = 10
"""Conversations before the first look. Tails as thin as a look's own part are not to be had
from fewer."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A setting that left the race.

    Args:
        setting: its name.
        beaten_by: one that costs no more and is shown to be better.
        look: at which look. Starts at 1.
        conversations: that were in then.
    """

    setting: str
    beaten_by: str
    look: int
    conversations: int


@dataclass(frozen=True, slots=True)
class Race:
    """Settings, and which of them are still worth running. Ask and tell; never changed in place.

    Args:
        settings: names, all of them.
        max_conversations: how many are planned in all; at least 1. Looks past the plan spend
            nothing more, and drop nothing.
        alpha: chance, over all looks, that the best setting is dropped, in (0, 1).
        dropped: those that left, in the order in which they did.
        looks: how often it was told.
        alpha_spent: what the looks so far have used of it.
    """

    settings: tuple[str, ...]
    max_conversations: int
    alpha: float = ALPHA
    dropped: tuple[Dropped, ...] = ()
    looks: int = 0
    alpha_spent: float = 0.0

    def __post_init__(self) -> None:
        """Hold the ranges.

        Raises:
            ValueError: when one is passed.
        """
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

    def tell(self, cost: Panel, quality: Panel, *, seed: int = 0, draws: int = DRAWS) -> "Race":
        """Return the race after a look at everything that is in so far.

        Args:
            cost: a figure to spend less of; of all conversations so far.
            quality: of the same settings and turns; higher is better. Settings that were
                dropped may be missing, or NaN.
            seed: of the draws.
            draws: how many.

        Raises:
            ValueError: when the panels are not of the same turns, or miss a running setting.
        """
        require_same_turns(cost, quality)
        running = self.ask()
        missing = sorted(set(running) - set(quality.settings))
        if missing:
            raise ValueError(f"the panels have no rows of {missing[0]!r}, which is still running")
        conversations = len(np.unique(quality.conversation_of))
        looked = replace(self, looks=self.looks + 1)
        if conversations < MIN_LOOK_CONVERSATIONS or len(running) < 2:
            return looked
        spent = spent_alpha(self.alpha, conversations / self.max_conversations)
        part = spent - self.alpha_spent
        if part <= 0:
            return looked
        compared = compare_with_best(
            _only(quality, running), level=1 - part, seed=seed, draws=draws
        )
        beaten = _beaten(_only(cost, running), compared, part, seed=seed, draws=draws)
        now = tuple(Dropped(name, by, looked.looks, conversations) for name, by in beaten.items())
        return replace(looked, dropped=self.dropped + now, alpha_spent=spent)


def spent_alpha(alpha: float, share: float) -> float:
    """Return how much of alpha may be used by now, about evenly over the data.

    Args:
        alpha: in all, in (0, 1).
        share: of the planned conversations that are in; at least 0, and more than 1 is 1.
    """
    return alpha * math.log(1 + (math.e - 1) * min(share, 1.0))


def _only(panel: Panel, settings: tuple[str, ...]) -> Panel:
    """Return a panel of some of its settings."""
    rows = [panel.settings.index(name) for name in settings]
    return Panel(
        settings=settings,
        conversations=panel.conversations,
        conversation_of=panel.conversation_of,
        values=panel.values[rows],
        spread=panel.spread[rows],
    )


def _beaten(
    cost: Panel, compared: BestComparison, part: float, *, seed: int, draws: int
) -> dict[str, str]:
    """Return who is shown to be worse than one that is shown to cost no more, and than whom.

    Whoever beats another must stay in the race or be beaten itself by one that stays. Both
    follow: better and no dearer than a setting that is better and no dearer is both as well.
    """
    bootstrap = Bootstrap(cost, seed=seed, draws=draws)
    beaten: dict[str, str] = {}
    for column, name in enumerate(compared.settings):
        better = [at for at in np.flatnonzero(compared.bounds[:, column] > 0) if at != column]
        if not better:
            continue
        rivals = [bootstrap.place_of[compared.settings[at]] for at in better]
        found = bootstrap.of_differences(rivals, bootstrap.place_of[name])
        reach = reach_of(found.distances, part)
        highest = found.means + width_of(reach.up, found.standard_errors, found.widening)
        cheaper = [at for at, high in zip(better, highest, strict=True) if high <= 0]
        if cheaper:
            best = cheaper[int(np.argmax(compared.differences[cheaper, column]))]
            beaten[name] = compared.settings[best]
    return beaten
