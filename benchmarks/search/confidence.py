"""Confidence compared with the truth: how often a pick is the best when that was said.

A search gives its pick a probability of being the best of all candidates that it had. Here the
runs of a pool are sorted into bins of that probability, and each bin shows in how many runs the
pick truly was the best. Runs whose candidates are all equally good are left out: there was
nothing to choose.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.search.collecting import Runs

__all__ = ["EDGES", "Bin", "bins_of"]

EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Edges of the bins; each has its lower edge, the last one both."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Runs of a pool whose searches gave their picks about the same probability.

    Args:
        pool: its name.
        low: lower edge.
        high: upper edge.
        runs: how many.
        said: mean probability; NaN without runs.
        true: share of the runs whose pick was the best; NaN without runs.
    """

    pool: str
    low: float
    high: float
    runs: int
    said: float
    true: float


def bins_of(runs: Iterable[Runs], edges: Sequence[float] = EDGES) -> list[Bin]:
    """Return the bins of each pool, and where there are several pools, those of all as `all`.

    Args:
        runs: of any policies and pools; those without a probability count nothing.
        edges: rising, from 0 to 1.
    """
    said: dict[str, list[np.ndarray]] = {}
    true: dict[str, list[np.ndarray]] = {}
    for each in runs:
        is_known = ~np.isnan(each.values["is_best"])
        said.setdefault(each.pool, []).append(each.values["chance_best"][is_known])
        true.setdefault(each.pool, []).append(each.values["is_best"][is_known])
    by_pool = {pool: (np.concatenate(said[pool]), np.concatenate(true[pool])) for pool in said}
    if len(by_pool) > 1:
        whole = tuple(np.concatenate(column) for column in zip(*by_pool.values(), strict=True))
        by_pool["all"] = (whole[0], whole[1])
    found = []
    for pool, (chances, are_best) in by_pool.items():
        places = np.clip(np.searchsorted(edges, chances, side="right") - 1, 0, len(edges) - 2)
        for place, (low, high) in enumerate(pairwise(edges)):
            own = places == place
            count = int(own.sum())
            mean = chances[own].mean() if count else np.nan
            share = are_best[own].mean() if count else np.nan
            found.append(Bin(pool, low, high, count, float(mean), float(share)))
    return found
