"""Estimates of qualities that were not judged, and their spread.

Where a setting asks for a call that is not recorded, its reply is not known. The replies of other
settings to the same turn are: the estimate is their mean, and its spread is that of one reply
among the replies to a turn. An estimate is a cell of the panel with a spread above 0.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel

__all__ = ["impute", "shared_error"]

Floats = NDArray[np.float64]


def impute(panel: Panel, is_known: NDArray[np.bool_]) -> Panel:
    """Return a panel in which each cell that is not known is an estimate.

    A cell's estimate is the mean over the n settings known on its turn, and its spread
    `s sqrt(1 + 1/n)`, where `s^2` is the variance within turns, pooled over all turns with two
    known cells or more. On a turn without a known cell it is the setting's own mean over its m
    known cells, else the mean of all m known cells; the spread is then the SD of all known
    cells, times `sqrt(1 + 1/m)`. What cannot be estimated stays NaN: there is no known cell at
    all, or only one.

    Source: prediction of a new member of a group, one-way layout; Searle (1971), Linear
    Models, 9.

    Args:
        panel: figures of replies; its spreads of known cells are kept.
        is_known: (S, T) whether the figure is that of a real run. A NaN is never known.

    Raises:
        ValueError: when the mask has another shape than the panel.
    """
    if is_known.shape != panel.values.shape:
        raise ValueError(f"expected a mask of {panel.values.shape}, got {is_known.shape}")
    is_exact = is_known & ~np.isnan(panel.values)
    known = np.where(is_exact, panel.values, np.nan)
    counts = is_exact.sum(axis=0)
    within, total = _within_turn_sd(known), _total_sd(known)
    turn_means = _mean(known, axis=0)[None, :]
    own_means = _mean(known, axis=1)[:, None]
    own_counts = is_exact.sum(axis=1)[:, None]
    all_count = max(int(is_exact.sum()), 1)
    has_own = own_counts > 0
    fallback = np.where(has_own, own_means, _mean(known.reshape(1, -1), axis=1)[:, None])
    fallback_spread = total * np.sqrt(1 + 1 / np.where(has_own, own_counts, all_count))
    # With one known cell on every turn the difference of replies to one turn is not known;
    # the spread of all cells contains that of turns as well, and is too wide rather than too small.
    per_reply = total if np.isnan(within) else within
    has_turn = (counts > 0)[None, :]
    values = np.where(has_turn, turn_means, fallback)
    spread = np.where(
        has_turn, per_reply * np.sqrt(1 + 1 / np.maximum(counts, 1))[None, :], fallback_spread
    )
    values = np.where(np.isnan(spread), np.nan, values)
    return replace(
        panel,
        values=np.where(is_exact, panel.values, values),
        spread=np.where(is_exact, panel.spread, np.nan_to_num(spread)),
    )


def shared_error(panel: Panel) -> float:
    """Return the share of an estimate's variance that all cells of one setting have in common.

    A setting that is better than others is better on the turns without its reply, too. The
    share is the variance of settings' means within turns over the variance of single cells
    within turns, both of measured cells. It is not corrected for the noise of the means, so it
    is rather too large than too small.

    Args:
        panel: figures; cells with a spread are estimates.

    Returns:
        In [0, 1]; 1 where fewer than two settings share a turn with another, since then
        their difference is not known.
    """
    known = np.where(panel.spread > 0, np.nan, panel.values)
    counts = (~np.isnan(known)).sum(axis=0)
    shared = known[:, counts > 1]
    residuals = shared - _mean(shared, axis=0)[None, :]
    has_any = ~np.isnan(residuals).all(axis=1)
    if has_any.sum() < 2:
        return 1.0
    within = _within_turn_sd(shared) ** 2
    if not within > 0:
        return 0.0
    means = _mean(residuals[has_any], axis=1)
    return float(min(np.sum(means**2) / (len(means) - 1) / within, 1.0))


def _mean(values: Floats, axis: int) -> Floats:
    """Return means of what is not NaN; NaN where all is."""
    counts = (~np.isnan(values)).sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.nansum(values, axis=axis) / counts
    return found


def _within_turn_sd(known: Floats) -> float:
    """Return the SD of a reply among replies to one turn; NaN without two on any turn."""
    counts = (~np.isnan(known)).sum(axis=0)
    freedom = int(np.maximum(counts - 1, 0).sum())
    if not freedom:
        return float("nan")
    residuals = known - _mean(known, axis=0)[None, :]
    return float(np.sqrt(np.nansum(residuals**2) / freedom))


def _total_sd(known: Floats) -> float:
    """Return the SD of all known cells; NaN of fewer than two."""
    values = known[~np.isnan(known)]
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
