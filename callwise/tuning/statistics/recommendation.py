"""The cheapest setting that is not worse than the best by more than a margin.

The best setting is not known; each setting's loss has a bound against the true best
(`comparison.py`). Of all settings whose bound clears the margin, the cheapest is chosen. The level
is that of all comparisons together, so choosing among them costs nothing.
"""

import math
from dataclasses import dataclass
from typing import Unpack

from callwise.calls.errors import ConfigError
from callwise.text_layout import counted
from callwise.tuning.panel import Panel
from callwise.tuning.quality_unit import QualityUnit, unit_of
from callwise.tuning.statistics.bootstrap import (
    MIN_CONVERSATIONS,
    BootstrapOptions,
    Interval,
    mean_intervals,
    paired_difference,
)
from callwise.tuning.statistics.cluster_draws import require_same_turns
from callwise.tuning.statistics.comparison import BestComparison, compare_with_best
from callwise.tuning.statistics.power import (
    NeededConversations,
    figure_text,
    percent,
    quality_digits,
)

__all__ = ["MARGIN_SHARE", "SLACK", "Recommendation", "check_margin", "recommend"]

MARGIN_SHARE = 0.01
"""Loss that still counts as not worse, as a share of the scale's width."""

MOST_TIMES = 10
"""Most conversations, as a multiple of those at hand, that are worth naming as the way out."""

SLACK = 1e-11
"""Share of the scale by which a bound may miss the margin: the order of a sum, no loss."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A setting, and the figures behind the choice.

    Args:
        chosen: its name; None where the data allow no verdict.
        is_shown: whether it is shown to be not worse than the best by more than the margin. If
            not, it is merely the cheapest that is not shown to be worse.
        margin_share: the same as a share of `scale_width`.
        is_scale_given: whether the caller stated it; if not, it is the gap between the
            observed best and worst mean of the sweep, and changes with what is swept.
        saving: cost of the best less that of the chosen; its interval is valid alone.
        difference: quality of the chosen less that of the best; its interval is valid alone.
        low: lower bound of the chosen's quality less that of the true best, at most 0; None
            where there is none. The choice rests on this bound.
        exact_share: share of the turns behind `difference` on which both qualities were
            measured, in [0, 1].
        open_settings: settings for which no verdict is reached, cheapest first, as far as they
            are cheaper than the chosen or are it.
        needed: conversations for a verdict on the first of them; None where none is open.
        left_out: settings with fewer known conversations than an interval takes, or without a
            known cost.
        unit: of `margin`, `difference` and `low`.
        why_none: the reason for which none is chosen; empty where one is.
        way_out: what would lead to a choice; empty where there is one.
    """

    chosen: str | None
    is_shown: bool
    best: str | None
    margin: float
    margin_share: float
    scale_width: float
    is_scale_given: bool
    level: float
    saving: Interval | None
    cost_unit: str
    difference: Interval | None
    low: float | None
    exact_share: float
    open_settings: tuple[str, ...]
    needed: NeededConversations | None
    left_out: tuple[str, ...]
    is_simulated: bool
    unit: QualityUnit
    why_none: str = ""
    way_out: str = ""

    def sentence(self) -> str:
        """Return it as one sentence of at most 25 words; `Simulated` comes first where it is."""
        text = "Simulated: " if self.is_simulated else ""
        if self.chosen is None or self.saving is None or self.saving.mean is None:
            return f"{text}no setting can be recommended: {self.why_none}."
        limit = f"within {self.in_unit(self.margin)} of the best"
        if not self.is_shown:
            return (
                f"{text}no setting is shown to be {limit}; {self.chosen} is the cheapest not "
                "shown to be worse."
            )
        saves = f"saves {figure_text(self.saving.mean)} {self.cost_unit}"
        if self.chosen == self.best:
            saves = "is also the best seen"
        return (
            f"{text}{self.chosen} is the cheapest shown to be {limit}, at {percent(self.level)} "
            f"confidence; it {saves}."
        )

    @property
    def deciding_share(self) -> float | None:
        """Least margin that shows the chosen to be not worse, as a share, rounded up.

        Two digits; None where it is shown already, or no margin below the scale shows it.
        """
        if self.is_shown or self.low is None or not self.scale_width:
            return None
        share = max(-self.low, 0.0) / self.scale_width
        if not 0 < share < 1:
            return None
        digits = 1 - math.floor(math.log10(share))
        rounded = round(math.ceil(share * 10**digits) / 10**digits, digits)
        return rounded if rounded < 1 else None

    @property
    def is_within_reach(self) -> bool:
        """Whether the missing conversations are few enough to be collected."""
        if self.needed is None or self.difference is None:
            return False
        return self.needed.count <= MOST_TIMES * self.difference.conversations

    def in_unit(self, quality: float) -> str:
        """Return a quality with its unit: `0.48 SD`; what rounds to zero has no sign."""
        digits = quality_digits(self.scale_width)
        number = f"{quality:z.{digits}f}"
        if "." in number:
            number = number.rstrip("0").rstrip(".")
        return f"{number} {self.unit.short}".rstrip()

    @property
    def scale(self) -> str:
        """The margin as a share of a scale, as text: `12% of the scale -2 to 2`."""
        share = percent(self.margin_share)
        if not self.is_scale_given:
            return f"{share} of the gap between this sweep's best and worst mean"
        width = f"a scale {self.scale_width:g} wide"
        return f"{share} of {f'the scale {self.unit.scale}' if self.unit.scale else width}"


def recommend(
    cost: Panel,
    quality: Panel,
    *,
    margin_share: float = MARGIN_SHARE,
    scale_width: float | None = None,
    level: float = 0.95,
    is_simulated: bool = False,
    cost_unit: str = "calls per turn",
    unit: QualityUnit | None = None,
    **options: Unpack[BootstrapOptions],
) -> Recommendation:
    """Return the cheapest setting not worse than the best by more than the margin.

    Args:
        margin_share: loss that still counts as not worse, as a share of the scale's width.
        scale_width: width of the quality scale, such as 4 for grades from 1 to 5; None takes
            the gap between the observed best and worst mean.
        unit: of the quality, for the words of the verdict.

    Raises:
        ConfigError: when no setting has a known quality, or the margin makes no sense.
        ValueError: when the panels are not of the same turns, or as `mean_intervals` does.
    """
    require_same_turns(cost, quality)
    qualities = mean_intervals(quality, level=level, **options)
    costs = mean_intervals(cost, level=level, **options)
    width = _width(qualities, scale_width, margin_share)
    compared = compare_with_best(quality, level=level, **options)
    ranked = _ranked(compared.settings, costs, qualities)
    chosen, is_shown, open_settings = _choose(compared, ranked, (margin_share + SLACK) * width)
    best = max(ranked, key=lambda name: qualities[name].mean or 0.0, default=None)
    saving = difference = needed = None
    if chosen is not None and best is not None:
        saving = paired_difference(cost, best, chosen, level=level, **options)
        difference = paired_difference(quality, chosen, best, level=level, **options)
    if open_settings:
        first = open_settings[0]
        needed = compared.needed(
            first,
            margin_share * width,
            conversations=qualities[first].conversations,
            turns=qualities[first].turns,
        )
    why_none, way_out = _why_none(ranked, qualities, costs) if chosen is None else ("", "")
    return Recommendation(
        chosen=chosen,
        is_shown=is_shown,
        best=best,
        margin=margin_share * width,
        margin_share=margin_share,
        scale_width=width,
        is_scale_given=scale_width is not None,
        level=level,
        saving=saving,
        cost_unit=cost_unit,
        difference=difference,
        low=None if chosen is None else compared.gap_of(chosen).low,
        exact_share=1.0 - (difference.estimated_share if difference else 0.0),
        open_settings=open_settings,
        needed=needed,
        left_out=tuple(name for name in quality.settings if name not in ranked),
        is_simulated=is_simulated,
        unit=unit_of("") if unit is None else unit,
        why_none=why_none,
        way_out=way_out,
    )


def _choose(
    compared: BestComparison, ranked: list[str], margin: float
) -> tuple[str | None, bool, tuple[str, ...]]:
    """Return the first of the ranked whose loss is shown to be small, else the first open one.

    With it come whether it is shown, and the settings that are open up to it.
    """
    shown = [name for name in ranked if compared.is_not_worse(name, margin)]
    is_open = [name for name in ranked if name not in shown and not compared.is_worse(name, margin)]
    chosen = next(iter(shown or is_open), None)
    if chosen is None:
        return None, False, ()
    last = ranked.index(chosen)
    return chosen, bool(shown), tuple(name for name in is_open if ranked.index(name) <= last)


def _ranked(
    settings: tuple[str, ...], costs: dict[str, Interval], qualities: dict[str, Interval]
) -> list[str]:
    """Return settings with a known cost, cheapest first; of equal cost, the better first."""

    def key(name: str) -> tuple[float, float]:
        return costs[name].mean or 0.0, -(qualities[name].mean or 0.0)

    return sorted((name for name in settings if costs[name].mean is not None), key=key)


def check_margin(margin_share: float) -> None:
    """Do nothing where a margin is a share of the scale.

    Raises:
        ConfigError: names it.
    """
    if not 0 <= margin_share < 1:
        raise ConfigError(
            f"margin {margin_share}: expected a share of the scale from 0 to below 1, "
            "such as 0.01 for 1 %"
        )


def _width(qualities: dict[str, Interval], scale_width: float | None, margin_share: float) -> float:
    check_margin(margin_share)
    if scale_width is not None and not 0 < scale_width < math.inf:
        raise ConfigError(
            f"scale width {scale_width}: expected a number above 0, such as 4 for grades 1 to 5"
        )
    means = [each.mean for each in qualities.values() if each.mean is not None]
    if not means:
        raise ConfigError(
            f"none of {len(qualities)} settings has a known quality, so none can be recommended: "
            "let a referee judge the replies, or give human labels"
        )
    return max(means) - min(means) if scale_width is None else scale_width


def _why_none(
    ranked: list[str], qualities: dict[str, Interval], costs: dict[str, Interval]
) -> tuple[str, str]:
    """Return why no setting is chosen, and what would lead to a choice."""
    if all(each.mean is None for each in costs.values()):
        return "no setting has a known cost", "price the models, or compare calls"
    if not ranked:
        most = max(each.conversations for each in qualities.values())
        known = counted(most, "conversation")
        more = counted(MIN_CONVERSATIONS - most, "more conversation")
        return (
            f"{known} with a known quality, and a verdict needs {MIN_CONVERSATIONS}",
            f"record {more}; more turns of the same do not help",
        )
    return (
        "every setting with a known cost is shown to be worse than one without",
        "price the models of that one",
    )
