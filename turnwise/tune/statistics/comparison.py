"""Settings beside one that was named beforehand: paired, and corrected for their number.

With 20 settings, one will look better than the reference by luck: intervals must hold for all
of them at once. A reference that was chosen by looking at the same data, such as the best, needs
`best.py` instead.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnwise.tune.panel import Panel
from turnwise.tune.statistics.bootstrap import DRAWS, MIN_CONVERSATIONS, Bootstrap, Interval
from turnwise.tune.statistics.critical import common_factor, holm, p_values, reach_of, require_level

__all__ = ["Difference", "compare_with"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting less a reference, over the turns that both know.

    Args:
        setting: its name.
        reference: the other's name.
        alone: interval that holds for this difference alone.
        together: interval that holds for all differences of the comparison at once.
        p_value: two-sided, of no difference; None without an interval. Never below
            2 / (draws + 1), so many settings need many draws.
        p_adjusted: the same, adjusted by Holm for how many differences there are.
    """

    setting: str
    reference: str
    alone: Interval
    together: Interval
    p_value: float | None
    p_adjusted: float | None

    @property
    def is_higher(self) -> bool:
        """Whether the setting is shown to lie above the reference."""
        return self.together.low is not None and self.together.low > 0

    @property
    def is_lower(self) -> bool:
        """Whether the setting is shown to lie below the reference."""
        return self.together.high is not None and self.together.high < 0


def compare_with(
    panel: Panel,
    reference: str,
    *,
    level: float = 0.95,
    seed: int = 0,
    draws: int = DRAWS,
    shared: float | None = None,
) -> dict[str, Difference]:
    """Return every other setting less a reference that was named before the data were seen.

    Source: max-t over the bootstrap, Westfall and Young (1993); Holm (1979).

    Args:
        panel: figures.
        reference: a setting.
        level: at which all intervals `together` hold at once.
        seed: of the draws.
        draws: how many.
        shared: see `Bootstrap`.

    Raises:
        KeyError: when the panel has no such setting.
        ValueError: as `mean_intervals` does.
    """
    require_level(level, draws)
    bootstrap = Bootstrap(panel, seed=seed, draws=draws, shared=shared)
    control = bootstrap.place_of[reference]
    places = [at for at in range(len(panel.settings)) if at != control]
    found = bootstrap.of_differences(places, control)
    reach = reach_of(found.distances, (1 - level) / 2)
    enough = np.flatnonzero(found.conversations >= MIN_CONVERSATIONS)
    factor = common_factor(found.distances[enough], reach.of(enough), level, is_lower_only=False)
    raw = p_values(found.distances[enough], _observed(found.means, found.standard_errors)[enough])
    adjusted = dict(zip(enough.tolist(), zip(raw, holm(raw), strict=True), strict=True))
    differences = {}
    for at, place in enumerate(places):
        alone, corrected = adjusted.get(at, (None, None))
        differences[panel.settings[place]] = Difference(
            setting=panel.settings[place],
            reference=reference,
            alone=bootstrap.interval(found, at, reach, level),
            together=bootstrap.interval(found, at, reach, level, factor),
            p_value=None if alone is None else float(alone),
            p_adjusted=None if corrected is None else float(corrected),
        )
    return differences


def _observed(means: Floats, errors: Floats) -> Floats:
    """Return means in their standard errors; infinite where one does not vary, 0 where it is 0."""
    size = np.divide(means, errors, out=np.where(means < 0, -np.inf, np.inf), where=errors > 0)
    found: Floats = np.where(np.nan_to_num(means) == 0, 0.0, size)
    return found
