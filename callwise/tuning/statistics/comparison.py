"""Comparisons of settings: with the best of them, or with one that was named beforehand.

Of 20 settings one will exceed a reference by luck, so intervals are valid for all of them together
(`compare_with`). A reference that was chosen by the same data, such as the best, needs more
(`compare_with_best`): suppose that a setting is the best, and compute a lower bound of every other
one's difference from it, valid for all others together. Do so with each setting. One that another
is shown to exceed is not the best; those that remain contain the best with the stated confidence,
and a setting is no further below the best than its lowest bound against them. Only the comparison
with the true best has to be valid, so not knowing it costs nothing.

Source: multiple comparisons with the best, Hsu (1984), Annals of Statistics 12, 1136-1144, in
the constrained form. We depart in the quantile: Dunnett's is replaced by the bootstrap's,
computed for each setting, since neither equal variances nor equal correlations can be assumed.
"""

from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel
from callwise.tuning.statistics.bootstrap import (
    MIN_CONVERSATIONS,
    Bootstrap,
    BootstrapOptions,
    NamedDifference,
)
from callwise.tuning.statistics.critical import (
    common_factor,
    critical_values_of,
    holm,
    p_values,
    require_level,
    width_of,
)
from callwise.tuning.statistics.power import CHANCE, NeededConversations, needed_for

__all__ = ["BestComparison", "GapToBest", "PairedDifference", "compare_with", "compare_with_best"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GapToBest:
    """The distance of one setting from the best of all others.

    Args:
        observed: its mean less that of the best other, over the turns that both know; above 0
            where it has the highest mean. None where no two settings share a turn.
        low: lower bound. At most 0, and 0 where it is shown to be the best; None where there is
            none.
        high: upper bound. At least 0, and 0 where it is shown not to be the best; None where
            there is none.
    """

    setting: str
    observed: float | None
    low: float | None
    high: float | None
    can_be_best: bool


@dataclass(frozen=True, slots=True, eq=False)
class BestComparison:
    """All settings compared with all, and each one's lower bound against the best.

    Args:
        settings: those with enough conversations, N of them.
        level: at which the lower bound is valid against all others together.
        differences: (N, N) mean of row less column, over the turns that both know; NaN where
            there is none.
        standard_errors: (N, N) of these.
        lower_bound: (N, N) of row less column, valid for a whole column together; minus
            infinity where nothing is known.
    """

    settings: tuple[str, ...]
    left_out: tuple[str, ...]
    level: float
    differences: Floats
    standard_errors: Floats
    lower_bound: Floats

    @property
    def can_be_best(self) -> NDArray[np.bool_]:
        """(N,) whether no setting is shown to lie above."""
        found: NDArray[np.bool_] = np.logical_not(np.any(self.lower_bound > 0, axis=0))
        return found

    def is_not_worse(self, setting: str, margin: float) -> bool:
        """Return whether a setting is shown to lose at most the margin to the best."""
        low = self.gap_of(setting).low
        return low is not None and low >= -margin

    def is_worse(self, setting: str, margin: float) -> bool:
        """Return whether a setting is shown to lose more than the margin to some other."""
        at = self.settings.index(setting)
        return bool(np.any(np.delete(self.lower_bound[:, at], at) > margin))

    def needed(
        self, setting: str, margin: float, *, conversations: int, turns: int, chance: float = CHANCE
    ) -> NeededConversations:
        """Return the conversations that show whether a setting loses more than the margin."""
        at = self.settings.index(setting)

        def of(row: int, column: int, sign: float) -> NeededConversations:
            error = float(self.standard_errors[row, column])
            width = float(self.differences[row, column] - self.lower_bound[row, column])
            return needed_for(
                sign * float(self.differences[row, column]),
                error,
                margin=margin,
                critical=width / error if error else 0.0,
                conversations=conversations,
                turns=turns,
                chance=chance,
            )

        rivals = [j for j in np.flatnonzero(self.can_be_best).tolist() if j != at]
        beaten = [j for j in rivals if self.differences[at, j] < -margin]
        found = [of(j, at, -1.0) for j in beaten] or [of(at, j, 1.0) for j in rivals]
        if not found:
            return NeededConversations("not worse", 0, 0, chance)
        worst = min if beaten else max
        return worst(found, key=lambda each: each.count)

    def gap_of(self, setting: str) -> GapToBest:
        """Return one setting's gap to the best of the others."""
        at = self.settings.index(setting)
        others = np.arange(len(self.settings)) != at
        low = float(np.min(self.lower_bound[at, others & self.can_be_best], initial=0.0))
        high = -float(np.max(self.lower_bound[others, at], initial=-np.inf))
        seen = self.differences[at, others]
        seen = seen[~np.isnan(seen)]
        return GapToBest(
            setting=setting,
            observed=float(seen.min()) if len(seen) else None,
            low=low if np.isfinite(low) else None,
            high=max(high, 0.0) if np.isfinite(high) else None,
            can_be_best=bool(self.can_be_best[at]),
        )

    def gaps(self) -> dict[str, GapToBest]:
        """Return each setting's gap to the best of the others."""
        return {name: self.gap_of(name) for name in self.settings}


def compare_with_best(
    panel: Panel,
    *,
    level: float = 0.95,
    **options: Unpack[BootstrapOptions],
) -> BestComparison:
    """Return every setting compared with the true best. Higher is better.

    Args:
        level: of each setting's comparison with all others together, in (0, 1). One-sided.

    Raises:
        ValueError: when the level is not in (0, 1), or as `Bootstrap` does.
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level}")
    bootstrap = Bootstrap(panel, **options)
    is_enough = bootstrap.sums.conversations >= MIN_CONVERSATIONS
    places = np.flatnonzero(is_enough).tolist()
    count = len(places)
    differences, errors = np.zeros((count, count)), np.zeros((count, count))
    lower_bound = np.full((count, count), -np.inf)
    for column, control in enumerate(places):
        found = bootstrap.of_differences(places, control)
        enough = np.flatnonzero(found.conversations >= MIN_CONVERSATIONS)
        critical = critical_values_of(found.distances[enough], 1 - level)
        factor = common_factor(found.distances[enough], critical, level, is_lower_only=True)
        differences[:, column] = found.means
        errors[:, column] = found.standard_errors
        factors = factor * found.widening[enough]
        widths = width_of(critical.down, found.standard_errors[enough], factors)
        lower_bound[enough, column] = found.means[enough] - widths
    return BestComparison(
        settings=tuple(panel.settings[at] for at in places),
        left_out=tuple(name for name, ok in zip(panel.settings, is_enough, strict=True) if not ok),
        level=level,
        differences=differences,
        standard_errors=errors,
        lower_bound=lower_bound,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference(NamedDifference):
    """One setting less a reference, over the turns that both know."""

    setting: str
    reference: str


def compare_with(
    panel: Panel,
    reference: str,
    *,
    level: float = 0.95,
    **options: Unpack[BootstrapOptions],
) -> dict[str, PairedDifference]:
    """Return every other setting less a reference that was named before the data were seen.

    Source: max-t over the bootstrap, Westfall and Young (1993); Holm (1979).

    Raises:
        KeyError: when the panel has no such setting.
        ValueError: as `mean_intervals` does.
    """
    bootstrap = Bootstrap(panel, **options)
    require_level(level, bootstrap.draw_count)
    control = bootstrap.place_of[reference]
    places = [at for at in range(len(panel.settings)) if at != control]
    found = bootstrap.of_differences(places, control)
    critical = critical_values_of(found.distances, (1 - level) / 2)
    enough = np.flatnonzero(found.conversations >= MIN_CONVERSATIONS)
    factor = common_factor(found.distances[enough], critical.of(enough), level, is_lower_only=False)
    raw = p_values(found.distances[enough], _observed(found.means, found.standard_errors)[enough])
    adjusted = dict(zip(enough.tolist(), zip(raw, holm(raw), strict=True), strict=True))
    differences = {}
    for at, place in enumerate(places):
        alone, corrected = adjusted.get(at, (None, None))
        differences[panel.settings[place]] = PairedDifference(
            setting=panel.settings[place],
            reference=reference,
            alone=bootstrap.interval(found, at, critical, level),
            together=bootstrap.interval(found, at, critical, level, factor),
            p_value=None if alone is None else float(alone),
            p_adjusted=None if corrected is None else float(corrected),
        )
    return differences


def _observed(means: Floats, errors: Floats) -> Floats:
    """Return means in their standard errors; infinite where one does not vary, 0 where it is 0."""
    size = np.divide(means, errors, out=np.where(means < 0, -np.inf, np.inf), where=errors > 0)
    found: Floats = np.where(np.nan_to_num(means) == 0, 0.0, size)
    return found
