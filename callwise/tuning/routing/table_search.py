"""Search for routing tables that are worth measuring, from settings that change one purpose each.

A table chooses one option for each purpose. There are far too many tables to measure, so each
option is measured alone: all other purposes stay as in the reference. What a table costs and how
good its replies are is then predicted as the sum of its options' differences from the reference,
turn by turn. That is an assumption: purposes interact weakly. It only decides which tables are
measured as a whole. The verdict rests on what was measured of these.

The tables proposed are the cheapest whose predicted loss clears the margin, at several degrees of
caution: from those that may well lose a little more than the margin to those that surely do not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callwise.tuning.panel import Panel

__all__ = [
    "CAUTION",
    "MOST_TABLES",
    "OptionPanels",
    "ProposedTable",
    "TableOptions",
    "differences_with_parts",
    "propose_tables",
]

Floats = NDArray[np.float64]

TableOptions = Mapping[str, Sequence[str]]
"""By purpose the settings that give this purpose alone another option than the reference."""

CAUTION = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Standard errors that are added to a predicted loss before it is compared with the margin."""

MOST_TABLES = 60_000
"""Most tables that are compared; of more, those that lose most for their cost are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class OptionPanels:
    """Cost and quality of the reference and of each option alone, on the same turns.

    Args:
        reference: the setting from which each option differs in one purpose.
        options: settings by purpose.
    """

    reference: str
    options: TableOptions
    cost: Panel
    quality: Panel


@dataclass(frozen=True, slots=True)
class ProposedTable:
    """A table that is worth measuring, with its prediction from single options.

    Args:
        options: by purpose the setting whose option it takes; the reference for no change.
        cost: predicted difference from the reference per turn.
        quality: the same.
        quality_error: standard error of `quality`, over conversations.
    """

    options: Mapping[str, str]
    cost: float
    quality: float
    quality_error: float


def propose_tables(
    panels: OptionPanels,
    *,
    margin: float,
    cautions: Sequence[float] = CAUTION,
    budgets: Sequence[float] = (),
) -> list[ProposedTable]:
    """Return tables that are worth measuring, cheapest first; never the reference itself.

    Args:
        margin: loss of quality that still counts as not worse, in the unit of quality.
        cautions: for each, the cheapest table with `loss + caution * error <= margin` is proposed,
            and the one of the best predicted quality as well.
        budgets: differences of cost from the reference; for each, the table of the best predicted
            quality at no more is proposed too, for the curve.

    Raises:
        ValueError: when an option is no setting of the panels, or nothing is known of the
            reference.
    """
    tables = _all_tables(panels)
    loss = -tables.quality
    chosen: dict[int, None] = {}
    for caution in cautions:
        clears = np.flatnonzero(loss + caution * tables.error <= margin)
        if len(clears):
            order = np.lexsort((loss[clears], tables.cost[clears]))
            chosen.setdefault(int(clears[order[0]]))
    chosen.setdefault(int(np.lexsort((tables.cost, loss))[0]))
    for budget in budgets:
        affordable = np.flatnonzero(tables.cost <= budget)
        if len(affordable):
            order = np.lexsort((tables.cost[affordable], loss[affordable]))
            chosen.setdefault(int(affordable[order[0]]))
    names = [(panels.reference, *settings) for settings in panels.options.values()]
    return [
        ProposedTable(
            dict(zip(panels.options, _named(names, tables.choices[at]), strict=True)),
            float(tables.cost[at]),
            float(tables.quality[at]),
            float(tables.error[at]),
        )
        for at in sorted(chosen, key=lambda each: (tables.cost[each], each))
        if tables.choices[at].any()
    ]


def _named(names: Sequence[Sequence[str]], choices: NDArray[np.intp]) -> list[str]:
    return [own[choice] for own, choice in zip(names, choices.tolist(), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """N tables: (N, P) choices, 0 for the reference; and their figures, each (N,)."""

    choices: NDArray[np.intp]
    cost: Floats
    quality: Floats
    variance: Floats

    @property
    def error(self) -> Floats:
        found: Floats = np.sqrt(np.maximum(self.variance, 0.0))
        return found

    def taken(self, places: NDArray[np.intp]) -> "_Tables":
        return _Tables(
            self.choices[places], self.cost[places], self.quality[places], self.variance[places]
        )


def _all_tables(panels: OptionPanels) -> _Tables:
    """Return every table, or the better ones of each cost where there are too many."""
    names = [name for settings in panels.options.values() for name in settings]
    cost, _ = differences_with_parts(panels.cost, panels.reference, names)
    quality, residuals = differences_with_parts(panels.quality, panels.reference, names)
    covariance = residuals @ residuals.T
    none = np.zeros((1, 0), dtype=np.intp)
    tables = _Tables(none, np.zeros(1), np.zeros(1), np.zeros(1))
    places = np.zeros((1, 0), dtype=np.intp)  # rows of `covariance` that each table has; -1: none
    first = 0
    for settings in panels.options.values():
        count = len(tables.cost)
        grown, grown_places = [], []
        for choice in range(len(settings) + 1):
            row = first + choice - 1
            own_cost, own_quality, own_variance = tables.cost, tables.quality, tables.variance
            if choice:
                cross = np.zeros(count)
                for column in places.T:
                    cross += np.where(column >= 0, covariance[column, row], 0.0)
                own_cost = own_cost + cost[row]
                own_quality = own_quality + quality[row]
                own_variance = own_variance + covariance[row, row] + 2 * cross
            chosen = np.full((count, 1), choice, dtype=np.intp)
            taken = np.full((count, 1), row if choice else -1, dtype=np.intp)
            choices = np.hstack([tables.choices, chosen])
            grown.append(_Tables(choices, own_cost, own_quality, own_variance))
            grown_places.append(np.hstack([places, taken]))
        tables = _Tables(
            np.vstack([each.choices for each in grown]),
            np.concatenate([each.cost for each in grown]),
            np.concatenate([each.quality for each in grown]),
            np.concatenate([each.variance for each in grown]),
        )
        places = np.vstack(grown_places)
        if len(tables.cost) > MOST_TABLES:
            kept = _better_of_each_cost(tables)
            tables, places = tables.taken(kept), places[kept]
        first += len(settings)
    return tables


def _better_of_each_cost(tables: _Tables) -> NDArray[np.intp]:
    """Return the places of the best of each cost, about a quarter of the most that may be."""
    by_cost = np.argsort(tables.cost, kind="stable")
    bins = np.array_split(by_cost, 500)
    most = max(MOST_TABLES // 4 // len(bins), 1)
    best = [each[np.argsort(-tables.quality[each], kind="stable")[:most]] for each in bins]
    # The reference has no loss, and whatever is built on it may be the safest.
    return np.unique(np.concatenate([*best, np.flatnonzero(~tables.choices.any(axis=1))]))


def differences_with_parts(
    panel: Panel, reference: str, names: Sequence[str]
) -> tuple[Floats, Floats]:
    """Return (F,) means of settings less the reference, and (F, C) parts of their errors.

    The parts are the linearised ratio's (Cochran 1977, 6): their sum of squares is the variance,
    and that of a sum of differences is the sum of squares of the summed parts.
    """
    place = {name: at for at, name in enumerate(panel.settings)}
    unknown = [name for name in (reference, *names) if name not in place]
    if unknown:
        raise ValueError(f"the panel has no setting {unknown[0]!r}")
    values = panel.values[[place[name] for name in names]] - panel.values[place[reference]]
    is_known = ~np.isnan(values)
    count = len(panel.conversations)
    means, parts = np.zeros(len(names)), np.zeros((len(names), count))
    for at in range(len(names)):
        known = is_known[at]
        of = panel.conversation_of[known]
        turns = np.bincount(of, minlength=count).astype(np.float64)
        if not turns.any():
            raise ValueError(f"{names[at]!r} shares no known turn with {reference!r}")
        sums = np.bincount(of, weights=values[at, known], minlength=count)
        total, conversations = turns.sum(), max(int((turns > 0).sum()), 2)
        means[at] = sums.sum() / total
        scale = math.sqrt(conversations / (conversations - 1)) / total
        parts[at] = (sums - means[at] * turns) * scale
    return means, parts
