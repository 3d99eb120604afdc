"""The trade-off as data: quality against cost, a point for each setting, and the front.

A setting is on the front when no other is at least as good for at most the same cost, and better
in one of the two. That compares means; `chance_on_front` is how sure it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from callwise.text_layout import counted
from callwise.tuning.figures.whisker import (
    CostAxis,
    FigureBasis,
    Whisker,
    basis_of,
    interval_words,
    whiskers_of,
)
from callwise.tuning.quality_unit import QualityUnit, unit_of
from callwise.tuning.row import Coverage, TurnRow, rows_by_setting
from callwise.tuning.statistics.front import Front, is_on_front
from callwise.tuning.statistics.recommendation import Recommendation

__all__ = ["Tradeoff", "TradeoffPoint", "tradeoff_of", "tradeoff_of_curve", "tradeoff_of_front"]


@dataclass(frozen=True, slots=True)
class TradeoffPoint:
    """One setting.

    Args:
        exact_turns: those whose reply and calls are all recorded.
        chance_on_front: how likely it is on the front, in [0, 1]; None when not known.
    """

    setting: str
    cost: Whisker
    quality: Whisker
    group: str
    turns: int
    judged_turns: int
    exact_turns: int
    is_on_front: bool
    chance_on_front: float | None

    @property
    def is_exact(self) -> bool:
        """Whether nothing in it is an estimate."""
        return self.exact_turns == self.turns


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """Quality against one cost."""

    cost: CostAxis
    points: tuple[TradeoffPoint, ...]
    left_out: tuple[tuple[str, str], ...]
    knob: str
    groups: tuple[str, ...]
    knee: str | None
    recommended: str | None
    recommended_as: str
    quality_by: tuple[str, ...]
    unit: QualityUnit
    interval_words: str
    basis: FigureBasis

    @property
    def front(self) -> tuple[TradeoffPoint, ...]:
        """The points of the front, cheapest first."""
        members = (point for point in self.points if point.is_on_front)
        return tuple(sorted(members, key=lambda point: (point.cost.mean, point.setting)))

    @property
    def steps(self) -> tuple[tuple[float, float], ...]:
        """The corners of the front's line: the best quality at a cost, as (x, y).

        It ends at the most expensive point, on the front or not.
        """
        corners: list[tuple[float, float]] = []
        for point in self.front:
            if corners:
                corners.append((point.cost.mean, corners[-1][1]))
            corners.append((point.cost.mean, point.quality.mean))
        dearest = max((point.cost.mean for point in self.points), default=0.0)
        if corners and dearest > corners[-1][0]:
            corners.append((dearest, corners[-1][1]))
        return tuple(corners)

    @property
    def problem(self) -> str:
        """The reason for which nothing can be drawn; empty where something can."""
        if self.points:
            return ""
        if not self.left_out:
            return "There are no rows to draw."
        if self.cost is CostAxis.USD and all("USD" in why for _, why in self.left_out):
            return (
                "USD is not known for any setting, and unknown is not 0. "
                "Give the endpoints prices, or draw calls or tokens."
            )
        return f"No setting can be drawn: {self.left_out[0][1]}."

    @property
    def title(self) -> str:
        """The title of the figure."""
        return f"Quality against {self.cost.label}"

    @property
    def quality_label(self) -> str:
        """The title of the axis of quality, with its unit and scale."""
        return self.unit.axis

    @property
    def caption(self) -> str:
        """The caption of the figure."""
        words = [f"{counted(len(self.points), 'setting')} on {self.basis.words}."]
        words.append(f"Quality by {', '.join(self.quality_by) or 'a judge that is not named'}.")
        words += [self.interval_words] if self.interval_words else []
        if any(point.chance_on_front is not None for point in self.points):
            words.append("Per cent: the chance that a setting is on the front.")
        if len({point.cost.mean for point in self.points}) < len(self.points):
            words.append("Settings of one cost are side by side.")
        if any(not point.is_exact for point in self.points):
            words.append("Hollow: not all of its calls are recorded.")
        if self.left_out and self.points:
            left_out = "; ".join(f"{name}: {why}" for name, why in self.left_out[:3])
            words.append(f"Left out: {len(self.left_out)} ({left_out}).")
        return " ".join(words)


_UNRECORDED = "most of its replies are not recorded, or not judged"
_PRICELESS = "its cost is not known on every turn"


def tradeoff_of(
    rows: Sequence[TurnRow],
    *,
    cost: CostAxis = CostAxis.CALLS,
    quality: Mapping[str, Any] | None = None,
    costs: Mapping[str, Any] | None = None,
    chance_on_front: Mapping[str, float] | None = None,
    knee: str | None = None,
    recommended: str | None = None,
    recommended_as: str = "recommended",
    knob: str = "",
    knob_values: Mapping[str, str] | None = None,
    unit: QualityUnit | None = None,
) -> Tradeoff:
    """Return the rows of a sweep as a trade-off.

    Args:
        quality: `(mean, low, high)` of the quality by setting, a result of statistics;
            where a setting has none, the plain mean over its rows is drawn, without bars.
        chance_on_front: by setting, in [0, 1].
        unit: of the quality; None takes what is fixed for the rows' source.

    Raises:
        ValueError: when an argument names a setting without rows, or cannot be drawn.
    """
    by_setting = rows_by_setting(rows)
    chances = chance_on_front or {}
    _refuse_unknown(by_setting, chances, knee, recommended)
    given = (
        whiskers_of(costs, by_setting, what=f"the {cost}"),
        whiskers_of(quality, by_setting, what="the quality"),
    )
    groups = knob_values or {}
    by = tuple(sorted({row.quality_by for row in rows if row.quality_by}))
    found = {
        name: _point_of(own, cost, given, groups.get(name, ""), chances.get(name))
        for name, own in by_setting.items()
    }
    points = [point for point in found.values() if isinstance(point, TradeoffPoint)]
    on_front = is_on_front(
        np.array([point.cost.mean for point in points], dtype=float),
        np.array([point.quality.mean for point in points], dtype=float),
    )
    return Tradeoff(
        cost=cost,
        points=tuple(
            replace(point, is_on_front=bool(is_on))
            for point, is_on in zip(points, on_front, strict=True)
        ),
        left_out=tuple((name, why) for name, why in found.items() if isinstance(why, str)),
        knob=knob,
        groups=_in_order({point.group for point in points}),
        knee=knee,
        recommended=recommended,
        recommended_as=recommended_as,
        quality_by=by,
        unit=unit_of(by[0] if len(by) == 1 else "") if unit is None else unit,
        interval_words=interval_words(quality, costs),
        basis=basis_of(rows),
    )


def tradeoff_of_front(
    rows: Sequence[TurnRow],
    front: Front,
    *,
    cost: CostAxis = CostAxis.CALLS,
    recommendation: Recommendation | None = None,
    knob: str = "",
    knob_values: Mapping[str, str] | None = None,
    unit: QualityUnit | None = None,
) -> Tradeoff:
    """Return a front that statistics found as a trade-off, with its intervals and its knee.

    Settings that are not in it are left out and named: a quality of stand-ins is not theirs.

    Args:
        recommendation: as `recommend` gives it. A setting that is merely not shown to be
            worse is not called recommended.

    Raises:
        ValueError: as `tradeoff_of` does.
    """
    points = front.points
    unknown: dict[str, str] = {}
    for row in rows:
        if row.setting not in points:
            known = unknown.get(row.setting) != _PRICELESS and cost.of(row) is not None
            unknown[row.setting] = _UNRECORDED if known else _PRICELESS
    found = tradeoff_of(
        [row for row in rows if row.setting in points],
        cost=cost,
        quality={name: point.quality for name, point in points.items()},
        costs={name: point.cost for name, point in points.items()},
        chance_on_front={name: point.front_share for name, point in points.items()},
        knee=front.knee,
        recommended=None if recommendation is None else recommendation.chosen,
        recommended_as="recommended"
        if recommendation is None or recommendation.is_shown
        else "cheapest not shown worse",
        knob=knob,
        knob_values=knob_values,
        unit=unit,
    )
    return replace(found, left_out=(*found.left_out, *unknown.items()))


def tradeoff_of_curve(
    rows: Sequence[TurnRow],
    points: Mapping[str, tuple[float, Any]],
    *,
    unit: QualityUnit | None = None,
) -> Tradeoff:
    """Return settings that were computed from two recorded ones as a trade-off in USD.

    Args:
        rows: of one setting, on the turns that they were computed on.
        points: mean USD per turn and interval of the quality, by name.
    """
    return tradeoff_of(
        [replace(row, setting=name) for name in points for row in rows],
        cost=CostAxis.USD,
        quality={name: quality for name, (_, quality) in points.items()},
        costs={name: Whisker(usd) for name, (usd, _) in points.items()},
        unit=unit,
    )


def _refuse_unknown(
    known: Mapping[str, Any],
    chances: Mapping[str, float],
    knee: str | None,
    recommended: str | None,
) -> None:
    named = {"the knee": [knee], "the recommendation": [recommended], "a chance": chances}
    for what, names in named.items():
        for name in names:
            if name is not None and name not in known:
                raise ValueError(f"{what} is {name!r}, which has no rows")
    for name, chance in chances.items():
        if not 0 <= chance <= 1:
            raise ValueError(f"expected a chance in [0, 1] for {name!r}, got {chance!r}")


def _point_of(
    rows: Sequence[TurnRow],
    cost: CostAxis,
    given: tuple[Mapping[str, Whisker], Mapping[str, Whisker]],
    group: str,
    chance_on_front: float | None,
) -> TradeoffPoint | str:
    """Return a setting's point, or why it has none."""
    costs = [found for row in rows if (found := cost.of(row)) is not None]
    judged = [row.quality for row in rows if row.quality is not None]
    if len(costs) < len(rows):
        unknown = len(rows) - len(costs)
        return f"{cost.noun} not known on {unknown} of {len(rows)} turns"
    if not judged:
        return "quality not known on any turn"
    setting = rows[0].setting
    return TradeoffPoint(
        setting=setting,
        cost=given[0].get(setting) or Whisker(fmean(costs)),
        quality=given[1].get(setting) or Whisker(fmean(judged)),
        group=group,
        turns=len(rows),
        judged_turns=len(judged),
        exact_turns=sum(row.is_reply_exact and row.coverage is Coverage.EXACT for row in rows),
        is_on_front=False,
        chance_on_front=chance_on_front,
    )


def _in_order(groups: set[str]) -> tuple[str, ...]:
    """Return values as a reader expects them: numbers by size, then names."""

    def rank(group: str) -> tuple[bool, float, str]:
        try:
            return False, float(group), group
        except ValueError:
            return True, 0.0, group

    return tuple(sorted(groups, key=rank))
