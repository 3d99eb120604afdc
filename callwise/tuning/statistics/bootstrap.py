"""Intervals of means and of paired differences: the bootstrap over conversations.

Turns of one conversation resemble each other, and more of them are not more users, so a turn is
not an independent sample. Whole conversations are drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.cluster_draws import (
    ConversationDraws,
    ConversationSums,
    Studentised,
    TurnGroups,
)
from callwise.tuning.statistics.critical import CriticalValue, critical_values_of, require_level
from callwise.tuning.statistics.imputation import shared_error

__all__ = [
    "DRAWS",
    "MIN_CONVERSATIONS",
    "Bootstrap",
    "BootstrapOptions",
    "Interval",
    "NamedDifference",
    "mean_intervals",
    "paired_difference",
]

DRAWS = 2_000
"""Draws of a bootstrap. The ends of an interval then vary by 3 % of its width between seeds."""

MIN_CONVERSATIONS = 5
"""Conversations with a known turn that an interval takes.

Of 4 there are 35 different draws, so that a tail of 2.5 % is less than one of them, and 1 draw
in 64 has a single conversation in it, without any spread. Of 5 there are 126, and 1 in 625.
"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over turns and its interval over conversations.

    Args:
        mean: over known turns; None when no turn is known.
        low: lower end; None without an interval.
        conversations: with at least one known turn.
        turns: known ones, estimates included.
        known_share: of the panel's turns, in [0, 1]. The mean is over these alone.
        estimated_share: of the known turns, those whose figure is an estimate.
    """

    mean: float | None
    low: float | None
    high: float | None
    level: float
    conversations: int
    turns: int
    known_share: float = 1.0
    estimated_share: float = 0.0
    why_none: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDifference:
    """A difference from a reference that was named before the data were seen.

    Args:
        alone: its interval.
        together: interval that is valid for all differences of the comparison together.
        p_value: two-sided, of no difference; None without an interval. Never below
            2 / (draws + 1), so many differences need many draws.
        p_adjusted: the same, adjusted by Holm for how many differences there are.
    """

    alone: Interval
    together: Interval
    p_value: float | None
    p_adjusted: float | None

    @property
    def is_higher(self) -> bool:
        """Whether it is shown to lie above 0."""
        return self.together.low is not None and self.together.low > 0

    @property
    def is_lower(self) -> bool:
        """Whether it is shown to lie below 0."""
        return self.together.high is not None and self.together.high < 0


class BootstrapOptions(TypedDict, total=False):
    """Options of every function that draws."""

    seed: int
    """At least 0; 0 by default. Panels of the same turns get the same draws."""
    draws: int
    """`DRAWS` by default."""
    shared: float | None
    """Share of an estimate's variance that all cells of one setting have in common, in [0, 1];
    None, the default, takes `shared_error` of the panel."""


class Bootstrap:
    """A panel and its draws, made once for all figures that are computed from them.

    Raises:
        ValueError: when two settings have one name, or the share is not in [0, 1].
    """

    def __init__(
        self, panel: Panel, *, seed: int = 0, draws: int = DRAWS, shared: float | None = None
    ) -> None:
        if len(set(panel.settings)) != len(panel.settings):
            raise ValueError("expected settings of different names")
        if shared is not None and not 0 <= shared <= 1:
            raise ValueError(f"a share lies between 0 and 1, got {shared}")
        self.panel = panel
        self.place_of: Mapping[str, int] = {name: at for at, name in enumerate(panel.settings)}
        self.groups = TurnGroups(panel)
        self.draw_count = draws
        if shared is None:
            shared = shared_error(panel) if self.groups.is_estimated else 0.0
        self.draws = ConversationDraws(
            self.groups,
            settings=len(panel.settings),
            seed=seed,
            draws=draws,
            shared_error=shared,
        )
        self.sums: ConversationSums = self.groups.of_settings()

    def of_means(self) -> Studentised:
        """Return every setting's mean, and the distances of its draws."""
        return self.draws.studentise(self.sums, np.arange(len(self.panel.settings)))

    def of_differences(self, settings: list[int], control: int) -> Studentised:
        """Return settings less a control over the turns that both know; all by place."""
        sums = self.groups.of_differences(settings, control)
        return self.draws.studentise(sums, np.asarray(settings, dtype=np.intp), control)

    def mean_intervals(self, level: float) -> dict[str, Interval]:
        """Return each setting's mean with its interval of a level."""
        found = self.of_means()
        critical = critical_values_of(found.distances, (1 - level) / 2)
        return {
            name: self.interval(found, at, critical, level) for name, at in self.place_of.items()
        }

    def interval(
        self,
        found: Studentised,
        at: int,
        critical: CriticalValue,
        level: float,
        factor: float = 1.0,
    ) -> Interval:
        """Return figure number `at` as an interval; `factor` widens it."""
        conversations, turns = int(found.conversations[at]), int(found.turns[at])
        mean, low, high, why = None, None, None, _why_none(conversations)
        if turns:
            mean = float(found.means[at])
        if mean is not None and conversations >= MIN_CONVERSATIONS:
            error = float(found.standard_errors[at]) * factor
            low = mean - float(critical.down[at]) * error
            high = mean + float(critical.up[at]) * error
            why = ""
        return Interval(
            mean=mean,
            low=low,
            high=high,
            level=level,
            conversations=conversations,
            turns=turns,
            known_share=turns / max(self.panel.values.shape[1], 1),
            estimated_share=int(found.estimated_turns[at]) / max(turns, 1),
            why_none=why,
        )


def _why_none(conversations: int) -> str:
    """Return why there is no interval, and what to do; empty where there is one."""
    if conversations == 0:
        return "no turn has a known figure here"
    have = "1 conversation has" if conversations == 1 else f"{conversations} conversations have"
    return (
        f"{have} a known figure here, and an interval needs {MIN_CONVERSATIONS}: "
        "record more conversations; more turns of the same do not help"
    )


def mean_intervals(
    panel: Panel,
    *,
    level: float = 0.95,
    **options: Unpack[BootstrapOptions],
) -> dict[str, Interval]:
    """Return each setting's mean over its known turns, with its interval.

    Each interval is valid alone; for claims about several settings take `compare_with` or
    `compare_with_best`.

    Raises:
        ValueError: when the draws are too few for the level, or as `Bootstrap` does.
    """
    bootstrap = Bootstrap(panel, **options)
    require_level(level, bootstrap.draw_count)
    return bootstrap.mean_intervals(level)


def paired_difference(
    panel: Panel,
    ours: str,
    theirs: str,
    *,
    level: float = 0.95,
    **options: Unpack[BootstrapOptions],
) -> Interval:
    """Return one setting less another over the turns that both know, with its interval.

    Raises:
        KeyError: when the panel has no such setting.
        ValueError: as `mean_intervals` does.
    """
    bootstrap = Bootstrap(panel, **options)
    require_level(level, bootstrap.draw_count)
    found = bootstrap.of_differences([bootstrap.place_of[ours]], bootstrap.place_of[theirs])
    return bootstrap.interval(found, 0, critical_values_of(found.distances, (1 - level) / 2), level)
