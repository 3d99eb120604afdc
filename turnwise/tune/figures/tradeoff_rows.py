"""The rows of a sweep as a trade-off, alone or with the front that statistics found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from turnwise.tune.figures.basis import basis_of
from turnwise.tune.figures.cost import Cost
from turnwise.tune.figures.tradeoff import Tradeoff, TradeoffPoint
from turnwise.tune.figures.whisker import Whisker, interval_words, whiskers_of
from turnwise.tune.row import Standing, TurnRow
from turnwise.tune.statistics.front import Front, is_on_front
from turnwise.tune.statistics.recommendation import Recommendation

__all__ = ["tradeoff_of", "tradeoff_of_front"]

_UNRECORDED = "most of its replies are not recorded, or nobody judged them"
_PRICELESS = "its cost is not known on every turn"


def tradeoff_of(
    rows: Sequence[TurnRow],
    *,
    cost: Cost = Cost.CALLS,
    quality: Mapping[str, Any] | None = None,
    costs: Mapping[str, Any] | None = None,
    chance_on_front: Mapping[str, float] | None = None,
    knee: str | None = None,
    recommended: str | None = None,
    recommended_as: str = "recommended",
    knob: str = "",
    knob_values: Mapping[str, str] | None = None,
) -> Tradeoff:
    """Return the rows of a sweep as a trade-off.

    Args:
        rows: of one sweep.
        cost: what quality is held against.
        quality: `(mean, low, high)` of the quality by setting, as statistics give them;
            where a setting has none, the plain mean over its rows is drawn, without bars.
        costs: the same of the cost.
        chance_on_front: by setting, in [0, 1].
        knee: a setting.
        recommended: a setting.
        recommended_as: what the legend says of it.
        knob: the knob that colours stand for.
        knob_values: its value by setting.

    Raises:
        ValueError: when something is said of a setting that has no rows, or cannot be drawn.
    """
    by_setting: dict[str, list[TurnRow]] = {}
    for row in rows:
        by_setting.setdefault(row.setting, []).append(row)
    _refuse_strangers(by_setting, chance_on_front, knee, recommended)
    given = (
        whiskers_of(costs, by_setting, what=f"the {cost}"),
        whiskers_of(quality, by_setting, what="the quality"),
    )
    groups = knob_values or {}
    found = {name: _point_of(name, own, cost, given, groups.get(name, ""))
             for name, own in by_setting.items()}  # fmt: skip
    points = [point for point in found.values() if isinstance(point, TradeoffPoint)]
    return Tradeoff(
        cost=cost,
        points=_with_front(points, chance_on_front or {}),
        left_out=tuple((name, why) for name, why in found.items() if isinstance(why, str)),
        knob=knob,
        groups=_in_order({point.group for point in points}),
        knee=knee,
        recommended=recommended,
        recommended_as=recommended_as,
        quality_by=tuple(sorted({row.quality_by for row in rows if row.quality_by})),
        interval_words=interval_words(quality, costs),
        basis=basis_of(rows),
    )


def tradeoff_of_front(
    rows: Sequence[TurnRow],
    front: Front,
    *,
    cost: Cost = Cost.CALLS,
    recommendation: Recommendation | None = None,
    knob: str = "",
    knob_values: Mapping[str, str] | None = None,
) -> Tradeoff:
    """Return a front that statistics found as a trade-off, with its intervals and its knee.

    Settings that it was not made of are left out and named: what a stand-in said is no
    quality of theirs.

    Args:
        rows: of the sweep that the front is of.
        front: as `pareto_front` gives it.
        cost: the cost that the front is of.
        recommendation: as `recommend` gives it. What is merely not shown to be worse is not
            called recommended.
        knob: the knob that colours stand for.
        knob_values: its value by setting.

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
    )
    return replace(found, left_out=(*found.left_out, *unknown.items()))


def _refuse_strangers(
    known: Mapping[str, Any],
    chances: Mapping[str, float] | None,
    knee: str | None,
    recommended: str | None,
) -> None:
    named = {"the knee": [knee], "the recommendation": [recommended], "a chance": chances or []}
    for what, names in named.items():
        for name in names:
            if name is not None and name not in known:
                raise ValueError(f"{what} is {name!r}, which has no rows")
    for name, chance in (chances or {}).items():
        if not 0 <= chance <= 1:
            raise ValueError(f"expected a chance in [0, 1] for {name!r}, got {chance!r}")


def _point_of(
    setting: str,
    rows: Sequence[TurnRow],
    cost: Cost,
    given: tuple[Mapping[str, Whisker], Mapping[str, Whisker]],
    group: str,
) -> TradeoffPoint | str:
    """Return a setting's point, or why it has none."""
    costs = [found for row in rows if (found := cost.of(row)) is not None]
    judged = [row for row in rows if row.quality is not None]
    if len(costs) < len(rows):
        unknown = len(rows) - len(costs)
        return f"{cost.noun} not known on {unknown} of {len(rows)} turns"
    if not judged:
        return "quality not known on any turn"
    plain = fmean(row.quality for row in judged if row.quality is not None)
    return TradeoffPoint(
        setting=setting,
        cost=given[0].get(setting) or Whisker(fmean(costs)),
        quality=given[1].get(setting) or Whisker(plain),
        group=group,
        turns=len(rows),
        judged_turns=len(judged),
        exact_turns=sum(row.is_reply_exact and row.standing is Standing.EXACT for row in rows),
        is_on_front=False,
        chance_on_front=None,
    )


def _with_front(
    points: Sequence[TradeoffPoint], chances: Mapping[str, float]
) -> tuple[TradeoffPoint, ...]:
    """Return the points, those that none dominates marked."""
    costs, qualities = (np.array([getattr(point, side).mean for point in points], dtype=float)
                        for side in ("cost", "quality"))  # fmt: skip
    on_front = is_on_front(costs, qualities)
    return tuple(
        replace(point, is_on_front=bool(is_on), chance_on_front=chances.get(point.setting))
        for point, is_on in zip(points, on_front, strict=True)
    )


def _in_order(groups: set[str]) -> tuple[str, ...]:
    """Return values as a reader expects them: numbers by size, then names."""

    def rank(group: str) -> tuple[bool, float, str]:
        try:
            return False, float(group), group
        except ValueError:
            return True, 0.0, group

    return tuple(sorted(groups, key=rank))
