"""Picks of a routing table in the simulated world, compared with its truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from callwise.tuning.routing.curve import routing_curve
from callwise.tuning.routing.table_search import OptionPanels, propose_tables
from callwise.tuning.statistics.bootstrap import paired_difference
from callwise.tuning.statistics.recommendation import recommend
from tests.callwise.tuning.routing.world import PURPOSES, Option, Recorded, RoutingWorld, options_of

__all__ = ["LEVELS", "MARGIN", "Pick", "Truth", "picked", "truth_of"]

LEVELS = (0.25, 0.5, 0.75)
MARGIN = 0.01
_STRONG: Option = (0.0, 0.0)
_WEAK: Option = (1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Price and quality of every table, and the cheapest within the margin of the best."""

    options: Sequence[Option]
    usd: np.ndarray
    quality: np.ndarray

    @property
    def best(self) -> tuple[int, ...]:
        """Places of the options of the cheapest table within the margin."""
        is_good = self.quality >= self.quality.max() - MARGIN
        place = np.argmin(np.where(is_good, self.usd, np.inf))
        return tuple(int(each) for each in np.unravel_index(place, self.usd.shape))

    def places(self, table: Sequence[Option]) -> tuple[int, ...]:
        """Return the places of a table's options."""
        return tuple(self.options.index(option) for option in table)


def truth_of(world: RoutingWorld, conversations: int = 12_000, seed: int = 10**6) -> Truth:
    """Return the truth, as the means of a large population."""
    options = options_of(LEVELS)
    population = world.record(np.random.default_rng(seed), conversations)
    return Truth(options, *population.truths([options] * len(PURPOSES)))


@dataclass(frozen=True, slots=True)
class Pick:
    """One recording's pick, and whether its intervals contain the truth.

    Args:
        is_best: whether it is the cheapest table within the margin; None where none is shown.
        is_within: whether it is within the margin; None where none is shown.
        excess: its price above that of the cheapest one, as a share; None where none is shown.
        tables: those measured as a whole.
        bound: whether its lower bound against the true best is right; None without one.
        difference: whether the interval of its quality less the strongest's contains the truth.
        points: shares of the tables on the curve whose interval contains the truth: of the
            quality, of the difference from the strongest, of the gap recovered.
    """

    is_best: bool | None
    is_within: bool | None
    excess: float | None
    tables: int
    bound: bool | None
    difference: bool | None
    points: tuple[float, float, float]


def picked(recorded: Recorded, truth: Truth) -> Pick:
    """Return the pick from a recording, by the search that `callwise tune --route` makes."""
    strong = (_STRONG,) * len(PURPOSES)
    singles, options, by_name = {"strong": strong}, {}, {"strong": _STRONG}
    for place, purpose in enumerate(PURPOSES):
        options[purpose] = []
        for option in truth.options:
            if option != _STRONG:
                name = f"{purpose} {option}"
                singles[name] = (*strong[:place], option, *strong[place + 1 :])
                options[purpose].append(name)
                by_name[name] = option
    alone = OptionPanels("strong", options, *recorded.panels(singles))
    proposed = propose_tables(alone, margin=MARGIN)
    tables = {"strong": strong, "weak": (_WEAK,) * len(PURPOSES)}
    for number, each in enumerate(proposed):
        tables[f"table {number}"] = tuple(by_name[name] for name in each.options.values())
    cost, quality = recorded.panels(tables)
    found = recommend(cost, quality, margin_share=MARGIN, scale_width=1.0, cost_unit="USD")
    truths = {name: truth.places(table) for name, table in tables.items()}
    true = {name: float(truth.quality[at]) for name, at in truths.items()}
    points = _covered(routing_curve(cost, quality, strong="strong", weak="weak"), true)
    if found.chosen is None or not found.is_shown:
        return Pick(None, None, None, len(tables), None, None, points)
    at = truths[found.chosen]
    cheapest = float(truth.usd[truth.best])
    difference = paired_difference(quality, found.chosen, "strong")
    loss = float(truth.quality.max()) - true[found.chosen]
    return Pick(
        is_best=at == truth.best,
        is_within=loss <= MARGIN,
        excess=float(truth.usd[at]) / cheapest - 1.0,
        tables=len(tables),
        bound=None if found.low is None else loss <= -found.low + 1e-9,
        difference=_contains(difference, true[found.chosen] - true["strong"]),
        points=points,
    )


def _contains(interval, truth: float) -> bool:
    return interval.low is not None and interval.low <= truth <= interval.high


def _covered(points, true) -> tuple[float, float, float]:
    gap = true["strong"] - true["weak"]
    own = [each for each in points if each.table not in {"strong", "weak"}]
    hits = [
        (
            _contains(each.quality, true[each.table]),
            _contains(each.difference, true[each.table] - true["strong"]),
            each.recovered is not None
            and _contains(each.recovered, (true[each.table] - true["weak"]) / gap),
        )
        for each in own
    ]
    return tuple(np.mean(np.array(hits), axis=0).tolist())
