"""A waterfall as data: from one setting to another, one knob in each step, with its saving.

Knobs interact, so the saving of a step depends on the steps before it. The order of the chain is
therefore part of the figure and of its caption.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from callwise.tuning.figures.whisker import FigureBasis, Whisker, interval_words, whisker_of

__all__ = ["ChainStep", "KnobStep", "Waterfall", "WaterfallBar", "steps_between", "waterfall_of"]

_TOLERANCE = 1e-9
NOT_SET = "not set"
"""The value of a knob that one of the two lacks."""


@dataclass(frozen=True, slots=True)
class KnobStep:
    """One knob that differs."""

    knob: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class ChainStep:
    """The result of one evaluated step of a chain.

    Args:
        calls: mean calls per turn with it and all changes before it.
        saved: `(mean, low, high)` of its saving, the paired difference to the step before; None
            where there is none. Its mean is not drawn.
    """

    change: KnobStep
    calls: float
    saved: Any = None


@dataclass(frozen=True, slots=True)
class WaterfallBar:
    """One step as it is drawn.

    Args:
        detail: `old -> new`; empty for the remainder.
        saved: calls per turn that it saved, with an interval where one is known; negative where
            it added some.
    """

    label: str
    detail: str
    before: float
    after: float
    saved: Whisker

    @property
    def ends_at(self) -> Whisker:
        """Its end, with the interval of the saving: a larger saving is a lower end."""
        saved = self.saved
        if not saved.has_interval:
            return Whisker(self.after)
        return Whisker(self.after, self.after - saved.above, self.after + saved.below)


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From one setting to another.

    Args:
        bars: the steps that changed something, in the chain's order; the last is a
            remainder where the chain does not end at `end`.
    """

    start: tuple[str, float]
    end: tuple[str, float]
    bars: tuple[WaterfallBar, ...]
    idle: tuple[str, ...]
    unit: str
    interval_words: str
    basis: FigureBasis

    @property
    def title(self) -> str:
        """The title of the figure."""
        return f"From {self.start[0]} to {self.end[0]}: what each knob saved"

    @property
    def caption(self) -> str:
        """The caption of the figure."""
        words = [f"Means over {self.basis.words}."]
        words.append("Knobs are changed from top to bottom; in another order each saves otherwise.")
        words += [self.interval_words] if self.interval_words else []
        if self.idle:
            words.append(f"Without effect: {', '.join(self.idle)}.")
        return " ".join(words)


def steps_between(
    knobs_a: Mapping[str, Any], knobs_b: Mapping[str, Any], *, whole: Collection[str] = ()
) -> tuple[KnobStep, ...]:
    """Return the knobs that differ, by name.

    Evaluating the chain that changes them one after another leads from `a` to `b`.

    Args:
        knobs_a: nested or flat; a run's manifest has them as `knobs`.
        whole: knobs whose value is a mapping that is changed as a whole. A mapping that is
            empty on one side is treated so, too.
    """
    return tuple(_differences(knobs_a, knobs_b, "", frozenset(whole)))


def _differences(
    a: Mapping[str, Any], b: Mapping[str, Any], above: str, whole: frozenset[str]
) -> Iterator[KnobStep]:
    for name in sorted({*a, *b}):
        knob = f"{above}{name}"
        old, new = a.get(name, NOT_SET), b.get(name, NOT_SET)
        are_groups = isinstance(old, Mapping) and isinstance(new, Mapping) and old and new
        if are_groups and knob not in whole:
            yield from _differences(old, new, f"{knob}.", whole)
        # 1 == True, and 1 == 1.0; only the second is no change.
        elif old != new or isinstance(old, bool) != isinstance(new, bool):
            yield KnobStep(knob, old, new)


def waterfall_of(
    start: tuple[str, float],
    chain: Sequence[ChainStep],
    end: tuple[str, float],
    basis: FigureBasis,
    *,
    unit: str = "calls per turn",
) -> Waterfall:
    """Return an evaluated chain as a waterfall.

    Args:
        end: name and mean calls per turn of the setting that it leads to. Where the last step
            gives another number, a bar shows the remainder.

    Raises:
        ValueError: when the saving of a step is no interval.
    """
    bars: list[WaterfallBar] = []
    idle: list[str] = []
    level = start[1]
    for step in chain:
        if abs(step.calls - level) <= _TOLERANCE:
            idle.append(step.change.knob)
            continue
        detail = f"{_value(step.change.old)} → {_value(step.change.new)}"
        saved = Whisker(level - step.calls)
        if step.saved is not None:
            saved = replace(whisker_of(step.saved), mean=saved.mean)
        bars.append(WaterfallBar(step.change.knob, detail, level, step.calls, saved))
        level = step.calls
    if abs(end[1] - level) > _TOLERANCE:
        bars.append(WaterfallBar("not explained", "", level, end[1], Whisker(level - end[1])))
    words = interval_words({step.change.knob: step.saved for step in chain if step.saved})
    return Waterfall(start, end, tuple(bars), tuple(idle), unit, words, basis)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
