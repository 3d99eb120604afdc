"""Report on the judges of a search, or of many: signs of bias with their intervals.

One search has few data, fifty turns have enough, so all figures are sums that add up.

    order             how far the first place is above the last, along a line
    first, last       how far that place is above all others
    length            rise of the score per standard deviation of the logarithm of length
    self_agreement    correlation of two readings of the same candidates
    ties, levels, one score for all, nothing usable, unknown ids: counted

Effects of places and of length are in standard deviations of scores within a call. Each is a ratio
of sums over independent cases:

    effect = sum(value) / sum(weight)
    its variance = sum((value - effect * weight)^2) / sum(weight)^2

Source: the ratio estimator and its variance over clusters (Cochran 1977, 6.3).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from lats.search_tree import Count

__all__ = [
    "MIN_CASES",
    "UNDETECTABLE",
    "EffectSums",
    "JudgeReport",
    "JudgeStatistics",
    "Sign",
    "pool_reports",
]

MIN_CASES = 12
"""Cases below which an effect has no interval."""

REACH = (2.498, 4.52, 7.74)
"""Half-width of an interval in standard errors: the first, plus the second over the degrees of
freedom, plus the third over their square. Student's t of 98.75 %, so that of four signs one is
found by chance in 5 % of reports. Source: Abramowitz and Stegun 26.7.5."""

MIN_EFFECT = 0.1
"""Effect of a place or of length, in standard deviations, below which it is no finding."""

LOW_AGREEMENT = 0.2
"""Correlation of two readings below which a judge is called noise."""

MIN_COUNTED = 2
"""Calls from which half of all calls is a finding."""

UNDETECTABLE = (
    "a preference that all judges share, such as one for a style",
    "a model's preference for its own drafts, unless another model judges them as well",
    "whether a preference for length is right",
)
"""Biases that scores cannot show."""

_DIGITS = 6

SignName = Literal["order", "first", "last", "length", "self_agreement"]
Finding = Literal["found", "not found", "not enough data"]


@dataclass(slots=True)
class EffectSums:
    """Sums over independent cases, from which an effect and its interval follow. They add up.

    Each case has a value and a weight; the effect is the ratio of their sums.
    """

    cases: int = 0
    weight: float = 0.0
    value: float = 0.0
    weight_squares: float = 0.0
    products: float = 0.0
    value_squares: float = 0.0

    def add(self, value: float, weight: float) -> None:
        """Add a case; one without weight is none."""
        if weight > 0:
            self.cases += 1
            self.weight += weight
            self.value += value
            self.weight_squares += weight * weight
            self.products += value * weight
            self.value_squares += value * value

    def __add__(self, other: "EffectSums") -> "EffectSums":
        """Return the sums over the cases of both."""
        return EffectSums(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    @property
    def effect(self) -> float | None:
        """The effect; None without a case."""
        return self.value / self.weight if self.weight > 0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the effect's interval; None where there are too few cases."""
        effect = self.effect
        if effect is None or self.cases < MIN_CASES:
            return None
        squares = (
            self.value_squares - 2 * effect * self.products + effect * effect * self.weight_squares
        )
        freedom = self.cases - 1
        reach = REACH[0] + REACH[1] / freedom + REACH[2] / freedom**2
        half = reach * math.sqrt(max(squares, 0.0) * self.cases / freedom) / self.weight
        return effect - half, effect + half


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign of bias.

    Args:
        effect: in the sign's unit; None without a case.
        low: lower end of its interval; None where there are too few cases.
        high: upper end, likewise.
        cases: independent ones.
    """

    name: SignName
    effect: float | None
    low: float | None
    high: float | None
    cases: int

    @property
    def finding(self) -> Finding:
        """Whether the interval leaves out everything that is harmless."""
        if self.low is None or self.high is None or self.effect is None:
            return "not enough data"
        if self.name == "self_agreement":
            return "found" if self.high < LOW_AGREEMENT else "not found"
        is_other = self.low > 0 or self.high < 0
        return "found" if is_other and abs(self.effect) >= MIN_EFFECT else "not found"


@dataclass(slots=True)
class JudgeStatistics:
    """Everything that is known of one judge, as sums that add up over searches.

    Args:
        calls: asked, failed ones included.
        failed: calls that failed or were refused.
        silent: calls that were answered without one usable score.
        unreadable: candidates with a verdict but no score in [0, 1].
        unknown_ids: verdicts on candidates that were not asked about.
        compared: calls with two scores or more; what the next ones are counted of.
        flat: of these, calls that gave all candidates one score.
        top_ties: of these, calls in which several candidates share the best score.
        levels: different scores in each of these calls, added up.
        scores: scores in these calls.
        spread_sum: sum of squared deviations from their call's mean.
        spread_weight: degrees of freedom in that sum.
        repeats: scores of candidates that had one by the same judge and rubric.
        equal_repeats: of these, scores that equal the earlier one.
    """

    calls: Count = 0
    failed: Count = 0
    silent: Count = 0
    unreadable: Count = 0
    unknown_ids: Count = 0
    compared: Count = 0
    flat: Count = 0
    top_ties: Count = 0
    levels: Count = 0
    scores: Count = 0
    spread_sum: float = 0.0
    spread_weight: Count = 0
    repeats: Count = 0
    equal_repeats: Count = 0
    order: EffectSums = field(default_factory=EffectSums)
    first: EffectSums = field(default_factory=EffectSums)
    last: EffectSums = field(default_factory=EffectSums)
    length: EffectSums = field(default_factory=EffectSums)
    self_agreement: EffectSums = field(default_factory=EffectSums)

    def __add__(self, other: "JudgeStatistics") -> "JudgeStatistics":
        """Return the statistics over the searches of both."""
        return JudgeStatistics(
            **{
                each.name: getattr(self, each.name) + getattr(other, each.name)
                for each in fields(self)
            }
        )

    @property
    def sd(self) -> float | None:
        """Standard deviation of scores within a call; None where no call compares."""
        return math.sqrt(self.spread_sum / self.spread_weight) if self.spread_weight else None

    @property
    def signs(self) -> tuple[Sign, ...]:
        """All signs that have an effect and an interval."""
        found = []
        names: tuple[SignName, ...] = ("order", "first", "last", "length", "self_agreement")
        for name in names:
            sums: EffectSums = getattr(self, name)
            low, high = sums.interval or (None, None)
            found.append(Sign(name, sums.effect, low, high, sums.cases))
        return tuple(found)

    @property
    def repeats_itself(self) -> bool:
        """Whether every repeated score is the earlier one, though it distinguishes candidates."""
        is_enough = self.repeats >= MIN_CASES and self.flat < self.compared
        return is_enough and self.equal_repeats == self.repeats

    def findings(self, name: str = "") -> list[str]:
        """Return what is wrong with the judge, a sentence each; none where nothing was found.

        `name` is the judge's; blank where there is one judge.
        """
        judge = f"judge {name!r}" if name else "this judge"
        found = [
            f"{judge} {words} in {count} of {total} calls"
            for words, count, total in (
                ("failed", self.failed, self.calls),
                ("gave no usable score", self.silent, self.calls),
                ("gave one score to everything", self.flat, self.compared),
            )
            if count >= MIN_COUNTED and 2 * count >= total
        ]
        if self.compared >= MIN_COUNTED and 2 * self.top_ties >= self.compared > self.flat:
            found.append(
                f"{judge} has several best candidates in {self.top_ties} of {self.compared} calls; "
                f"it uses {self.levels / self.compared:.1f} different scores for "
                f"{self.scores / self.compared:.1f} candidates"
            )
        if self.unreadable:
            found.append(
                f"{judge} gave {self.unreadable} verdicts without a score from 0 to 1: another "
                "scale, no number, or none at all"
            )
        if self.unknown_ids:
            found.append(
                f"{judge} judged {self.unknown_ids} candidates that it was not asked about"
            )
        if self.repeats_itself:
            found.append(
                f"{judge} repeated itself in {self.repeats} of {self.repeats} scores: its answers "
                "come from a cache, a temperature of 0, or an exact check, and further passes by "
                "it add nothing"
            )
        return found + [_words(judge, sign) for sign in self.signs if sign.finding == "found"]


def _words(judge: str, sign: Sign) -> str:
    effect = sign.effect or 0.0
    figures = f"{effect:+.2f} ({sign.low:+.2f} to {sign.high:+.2f}; {sign.cases} cases)"
    more = "higher" if effect > 0 else "lower"
    match sign.name:
        case "order":
            return (
                f"{judge} scores what it reads first {more} than what it reads last: {figures} SD"
            )
        case "first" | "last":
            return f"{judge} scores the {sign.name} place {more} than the others: {figures} SD"
        case "length":
            longer = "longer" if effect > 0 else "shorter"
            return f"{judge} prefers {longer} texts, perhaps rightly: {figures} SD per SD of length"
        case "self_agreement":
            return f"{judge} hardly agrees with itself: correlation of two readings {figures}"


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """Statistics of the judges of one search, or of several.

    Args:
        searches: that had a judge call.
        judges: by name; blank where a search has one judge.
        agreement: of two judges, by their names in order: correlation of their scores of the same
            candidates. What they share may be true or a common bias; what they do not is noise
            or a bias of one.
    """

    searches: int = 0
    judges: Mapping[str, JudgeStatistics] = field(default_factory=dict)
    agreement: Mapping[tuple[str, str], EffectSums] = field(default_factory=dict)

    def findings(self) -> list[str]:
        """Return what is wrong with the judges, a sentence each."""
        return [line for name, each in self.judges.items() for line in each.findings(name)]

    def text(self) -> str:
        """Return the report as lines of text."""
        lines = [f"judges in {self.searches} searches"]
        for name, judge in self.judges.items():
            spread = "" if judge.sd is None else f", SD of scores within a call {judge.sd:.3f}"
            lines.append(f"{name or 'the judge'}: {judge.calls} calls{spread}")
            lines += [f"  {_line(sign)}" for sign in judge.signs]
            lines += [f"  ! {finding}" for finding in judge.findings(name)]
        for (one, other), sums in self.agreement.items():
            lines.append(f"{one} and {other}: correlation {_figures(sums.effect, sums.interval)}")
        return "\n".join([*lines, "cannot be detected: " + "; ".join(UNDETECTABLE)])

    def record(self) -> dict[str, Any]:
        """Return the report as plain JSON, from which reports can be pooled.

        Sums of an effect are a list: cases, weight, value, and the sums of squares of weights, of
        products, and of squares of values.
        """
        return {
            "searches": self.searches,
            "judges": [
                {"judge": name, **_record_of(each)} for name, each in sorted(self.judges.items())
            ],
            "agreement": [
                {"judges": list(pair), "sums": _sums_record(sums)}
                for pair, sums in sorted(self.agreement.items())
            ],
        }


def _line(sign: Sign) -> str:
    ends = None if sign.low is None or sign.high is None else (sign.low, sign.high)
    return f"{sign.name}: {_figures(sign.effect, ends)}, {sign.cases} cases: {sign.finding}"


def _figures(effect: float | None, interval: tuple[float, float] | None) -> str:
    if effect is None:
        return "--"
    ends = "" if interval is None else f" ({interval[0]:+.2f} to {interval[1]:+.2f})"
    return f"{effect:+.2f}{ends}"


def _sums_record(sums: EffectSums) -> list[float]:
    return [round(value, _DIGITS) for value in asdict(sums).values()]


def _record_of(judge: JudgeStatistics) -> dict[str, Any]:
    return {
        each.name: _sums_record(value)
        if isinstance(value := getattr(judge, each.name), EffectSums)
        else round(value, _DIGITS)
        for each in fields(judge)
    }


def pool_reports(reports: Iterable[JudgeReport]) -> JudgeReport:
    """Return one report over the searches of several. Judges of one name count as one."""
    searches = 0
    judges: dict[str, JudgeStatistics] = {}
    agreement: dict[tuple[str, str], EffectSums] = {}
    for report in reports:
        searches += report.searches
        for name, each in report.judges.items():
            judges[name] = judges[name] + each if name in judges else each
        for pair, sums in report.agreement.items():
            agreement[pair] = agreement[pair] + sums if pair in agreement else sums
    return JudgeReport(searches, judges, agreement)
