"""The trade-off as data: quality against what it costs, a point a setting, and the front.

A setting stands on the front when no other is at least as good for at most the same cost,
and better in one of the two. That is said of means; `chance_on_front` says how sure it is.
"""

from dataclasses import dataclass

from turnwise.tune.figures.basis import Basis, counted
from turnwise.tune.figures.cost import Cost
from turnwise.tune.figures.whisker import Whisker

__all__ = ["Tradeoff", "TradeoffPoint"]


@dataclass(frozen=True, slots=True)
class TradeoffPoint:
    """One setting.

    Args:
        setting: its name.
        cost: mean of the cost a turn.
        quality: mean quality of the replies.
        group: value of the swept knob; empty where none is given.
        turns: turns that it was run on.
        judged_turns: those of them whose quality is known.
        exact_turns: those of them whose reply and calls all stand in the recording.
        is_on_front: whether no other setting dominates it, by means.
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
    """Quality against one cost.

    Args:
        cost: which cost.
        points: a setting each, in the order of the rows.
        left_out: settings that have no point, and why.
        knob: the knob that colours stand for; empty for none.
        groups: its values, in the order of their colours.
        knee: the setting at the knee of the front; None when not given.
        recommended: the setting that is recommended; None when not given.
        recommended_as: what is said of it.
        quality_by: who judged, in order of name.
        interval_words: what the intervals are, or why there are none; empty for none.
        basis: what it rests on.
    """

    cost: Cost
    points: tuple[TradeoffPoint, ...]
    left_out: tuple[tuple[str, str], ...]
    knob: str
    groups: tuple[str, ...]
    knee: str | None
    recommended: str | None
    recommended_as: str
    quality_by: tuple[str, ...]
    interval_words: str
    basis: Basis

    @property
    def front(self) -> tuple[TradeoffPoint, ...]:
        """The points of the front, from cheap to dear."""
        members = (point for point in self.points if point.is_on_front)
        return tuple(sorted(members, key=lambda point: (point.cost.mean, point.setting)))

    @property
    def steps(self) -> tuple[tuple[float, float], ...]:
        """The corners of the front's line: the best quality that a cost can buy, as (x, y).

        It ends at the dearest point, on the front or not.
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
        """Why nothing can be drawn, in words; empty where something can."""
        if self.points:
            return ""
        if not self.left_out:
            return "There are no rows to draw."
        if self.cost is Cost.USD and all("USD" in why for _, why in self.left_out):
            return (
                "USD is not known for any setting, and unknown is not 0. "
                "Give the endpoints prices, or draw calls or tokens."
            )
        return f"No setting can be drawn: {self.left_out[0][1]}."

    @property
    def title(self) -> str:
        """What it is called."""
        return f"Quality against {self.cost.label}"

    @property
    def quality_label(self) -> str:
        """The axis of quality, with who judged."""
        return f"quality of the reply ({', '.join(self.quality_by) or 'judge not named'})"

    @property
    def caption(self) -> str:
        """What a reader has to know, in one paragraph."""
        words = [f"{counted(len(self.points), 'setting')} on {self.basis.words}."]
        words += [self.interval_words] if self.interval_words else []
        if any(point.chance_on_front is not None for point in self.points):
            words.append("The paler, the less likely on the front.")
        if any(not point.is_exact for point in self.points):
            words.append("Hollow: not all of its calls are recorded.")
        if self.left_out and self.points:
            left_out = "; ".join(f"{name}: {why}" for name, why in self.left_out[:3])
            words.append(f"Left out: {len(self.left_out)} ({left_out}).")
        return " ".join(words)
