"""What an adaptive sampler is told of a setting: a mean over turns, or why there is none."""

import math
from collections.abc import Callable, Sequence

from turnwise.tune.row import TurnRow
from turnwise.tune.sweeps.sweep_spec import Objective

__all__ = ["Values", "mean_figures"]

Values = tuple[float, ...] | str
"""One value an objective, or the reason why they are not known."""


def mean_figures(
    objectives: Sequence[Objective], min_known_share: float
) -> Callable[[Sequence[TurnRow]], Values]:
    """Return a function from a setting's rows to its objectives.

    Args:
        objectives: figures; each becomes its mean over the turns on which it is known.
        min_known_share: share of turns on which it must be, in (0, 1]. Below it the mean
            would be over other turns than those of other settings, and say nothing.
    """

    def values_of(rows: Sequence[TurnRow]) -> Values:
        if not rows:
            return "it has no turns"
        means: list[float] = []
        for objective in objectives:
            known = [
                float(figure)
                for figure in (getattr(row, objective.figure) for row in rows)
                if figure is not None
            ]
            if not known or len(known) < min_known_share * len(rows):
                return f"{objective.figure} is known on {len(known)} of {len(rows)} turns"
            means.append(math.fsum(known) / len(known))
        return tuple(means)

    return values_of
