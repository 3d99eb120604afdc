"""Cascades tuned on a recording: a small model asked before each purpose's own one.

Two sweeps. In the first a small model answers one purpose wherever it has a confidence, so each
turn has both models' replies, and every threshold of the cascade follows (`cascade_thresholds.py`).
The second runs the cascades that are shown to be good enough, as they would be recommended.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from callwise.calls.choice import Choice
from callwise.calls.policies import CascadePolicy
from callwise.calls.policies.cascade_policy import ConfidenceSource
from callwise.recordings.counterfactual.evaluation import evaluate
from callwise.tuning.figures.tradeoff import Tradeoff, tradeoff_of_curve
from callwise.tuning.panel import Panel
from callwise.tuning.quality_unit import QualityUnit
from callwise.tuning.replay_evaluator import RECORDED, OpenRecording, run_apart, settings_of
from callwise.tuning.routing.cascade_thresholds import (
    LARGE,
    CascadeTurns,
    FittedCascade,
    fit_cascade,
    threshold_levels,
)
from callwise.tuning.routing.curve import CurvePoint, routing_curve
from callwise.tuning.routing.route_space import REFERENCE, RouteSpace
from callwise.tuning.routing.route_tuning import Measure, MeasuredSweep, preset_text
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting
from callwise.tuning.statistics.bootstrap import MIN_CONVERSATIONS, Interval, paired_difference
from callwise.tuning.statistics.comparison import compare_with_best
from callwise.tuning.statistics.recommendation import SLACK, Recommendation, recommend
from callwise.tuning.sweep_spec import NamedSetting, SweepSpec, flat_knobs

__all__ = [
    "CascadeOption",
    "TriedCascade",
    "TunedCascades",
    "cascade_options",
    "tune_cascades",
]

TOGETHER = "cascades together"
CURVE_PARTS = 10

TurnKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class CascadeOption:
    """A small model before the role of one purpose."""

    purpose: str
    model: str
    role: str
    by: ConfidenceSource

    @property
    def name(self) -> str:
        """Its name, such as `detect: small, then main`."""
        return f"{self.purpose}: {self.model}, then {self.role}"

    def policy(self, found: FittedCascade | None = None) -> dict[str, Any]:
        """Return the knobs of its policy; without a fit every answer with a confidence is taken."""
        own: dict[str, Any] = {"kind": "cascade", "models": [self.model, self.role], "by": self.by}
        if found is None:
            return own | {"confidence": 0.0}
        calibration = found.fitted.calibration.model_dump(mode="json")
        own |= {"confidence": found.confidence, "calibration": [calibration]}
        return CascadePolicy.model_validate(own).model_dump(mode="json", exclude_unset=True)


def cascade_options(space: RouteSpace, by: ConfidenceSource) -> tuple[CascadeOption, ...]:
    """Return each cheaper model before the role of each purpose, cheapest first."""
    return tuple(
        CascadeOption(purpose, model, role, by)
        for purpose, role in space.roles.items()
        for model in space.models
        if space.usd[purpose, model] < space.usd[purpose, role]
    )


@dataclass(frozen=True, slots=True)
class TriedCascade:
    """One cascade, as far as the recording has it.

    Args:
        turns: those on which both models' replies are known, and `rows` are the large one's.
        found: its map and threshold; None where too little is known.
        why_none: the reason; empty where there is one.
        is_shown: whether it is shown to be good enough, by thresholds that were not chosen on the
            turns they are tested on.
        several: turns that ask more than one question of the purpose. Of these, where one is
            escalated here, all are.
    """

    option: CascadeOption
    turns: CascadeTurns
    rows: tuple[TurnRow, ...] = field(repr=False)
    found: FittedCascade | None
    why_none: str = ""
    is_shown: bool = False
    several: int = 0

    @property
    def taken_share(self) -> float | None:
        """Share of turns on which the recommended threshold takes the small model's answers."""
        if self.found is None or self.found.threshold is None:
            return None
        return float((self.turns.confidence >= self.found.threshold).mean())

    @property
    def saving(self) -> Interval | None:
        """Price of the large model less that of the cascade, per turn, as it was tested."""
        return self._less(0, -1.0)

    @property
    def difference(self) -> Interval | None:
        """Quality of the cascade less that of the large model, per turn, as it was tested."""
        return self._less(1, 1.0)

    def _less(self, figure: int, sign: float) -> Interval | None:
        if self.found is None or self.found.threshold is None:
            return None
        large = (self.turns.large_usd, self.turns.large)[figure]
        own = self.found.crossed.outcome(self.turns)[figure]
        return paired_difference(self.turns.panel(("b", "a"), [sign * large, sign * own]), "a", "b")

    @property
    def keys(self) -> tuple[TurnKey, ...]:
        """The turns, by conversation and number."""
        return tuple((row.conversation, row.turn) for row in self.rows)

    def figure(self, unit: QualityUnit) -> Tradeoff | None:
        """Return the curve as a figure's record; None where there is no curve."""
        points = {each.table: (each.cost, each.quality) for each in self.curve()}
        return tradeoff_of_curve(self.rows, points, unit=unit) if points else None

    def curve(self) -> list[CurvePoint]:
        """Return cascades by their thresholds, between each model alone."""
        if self.found is None or self.turns.conversations < MIN_CONVERSATIONS:
            return []
        levels = threshold_levels(self.turns.confidence, CURVE_PARTS)
        names = {f"{self.option.by} >= {each:.6g}": each for each in levels}
        usd, quality = self.turns.panels(names)
        shares = {
            name: float(1 - (self.turns.confidence >= each).mean()) for name, each in names.items()
        }
        return routing_curve(
            usd, quality, strong=LARGE, weak=next(iter(names)), strong_shares={LARGE: 1.0, **shares}
        )


@dataclass(frozen=True, slots=True)
class TunedCascades:
    """The cascades that were tried, and those that were measured as they would run.

    Args:
        alone: the sweep of each small model alone.
        crossed: the verdict on cascades whose thresholds were chosen without the turns they are
            tested on; None where none has a threshold.
        measured: cascades of the second sweep, by the name of their setting.
        whole: that sweep; None where no cascade is shown.
    """

    space: RouteSpace
    tried: tuple[TriedCascade, ...]
    alone: MeasuredSweep
    crossed: Recommendation | None
    measured: Mapping[str, tuple[TriedCascade, ...]]
    whole: MeasuredSweep | None

    @property
    def chosen(self) -> tuple[TriedCascade, ...]:
        """The recommended cascades; empty where none is shown, or the large models are."""
        found = None if self.whole is None else self.whole.analysis.recommendation
        if found is None or found.chosen is None or not found.is_shown:
            return ()
        return self.measured.get(found.chosen, ())

    def preset(self, known: OpenRecording) -> str | None:
        """Return the recommended cascades as a preset file; None where there are none."""
        if not self.chosen or self.whole is None:
            return None
        policies = _policies(self.chosen)
        named = _setting(self.space, "recommended", policies)
        return preset_text(known.recording, named, policies, self.whole.analysis)


def tune_cascades(
    known: Callable[[], OpenRecording],
    space: RouteSpace,
    by: ConfidenceSource,
    measure: Measure,
    say: Callable[[str], None],
    *,
    margin_share: float,
    max_turns: int | None = None,
) -> TunedCascades:
    """Measure small models alone, and the cascades of them that are shown, as they would run.

    Args:
        known: opens the recording, with what was bought since.
        margin_share: loss that still counts as not worse, as a share of the scale.
        say: is given what is measured next.
    """
    options = cascade_options(space, by)
    say(f"Small models before the role of one purpose each: {len(options)}.")
    first = NamedSetting(name=REFERENCE)
    settings = {each: _setting(space, each.name, {each.purpose: each.policy()}) for each in options}
    alone = measure(SweepSpec(settings=[first, *settings.values()]), "alone")
    reference = alone.analysis.recommendation
    rows: dict[str, dict[TurnKey, TurnRow]] = {}
    for row in alone.judged.rows:
        rows.setdefault(row.setting, {})[row.conversation, row.turn] = row
    tried = []
    for option, named in settings.items():
        if option.name not in alone.analysis.settings or reference is None:
            continue
        steps = _steps(known(), named, option.purpose, max_turns)
        large, small = rows[REFERENCE], rows[option.name]
        tried.append(_tried(option, large, small, steps, reference))
    crossed, tried = _verdict(tried, list(rows.get(REFERENCE, ())), alone, margin_share)
    measured = _to_measure(tried)
    if not measured:
        return TunedCascades(space, tuple(tried), alone, crossed, {}, None)
    say(f"Cascades that are run as they would be recommended: {len(measured)}.")
    named_settings = [_setting(space, name, _policies(own)) for name, own in measured.items()]
    whole = measure(SweepSpec(settings=[first, *named_settings]), "cascades")
    return TunedCascades(space, tuple(tried), alone, crossed, measured, whole)


def _setting(space: RouteSpace, name: str, policies: Mapping[str, Any]) -> NamedSetting:
    return NamedSetting(name=name, fixed={**space.knobs, "policies": dict(policies)})


def _policies(cascades: tuple[TriedCascade, ...]) -> dict[str, Any]:
    return {each.option.purpose: each.option.policy(each.found) for each in cascades}


class _Step(NamedTuple):
    """The small model's part in one turn.

    Args:
        confidence: the least of its questions; None where one had none.
        usd: price of its calls, and of those that measure its confidence; None: not known.
        questions: how many of the purpose were asked.
    """

    confidence: float | None
    usd: float | None
    questions: int


def _steps(
    known: OpenRecording, named: NamedSetting, purpose: str, max_turns: int | None
) -> dict[TurnKey, _Step]:
    """Return the small model's part in each turn that is recorded up to its reply."""
    recording = known.recording
    knobs = settings_of(recording, Setting(named.name, RECORDED, flat_knobs(named.fixed)))
    turns = recording.inputs[:max_turns]
    played = run_apart(evaluate(recording, known.cassette, knobs, store=known.store, turns=turns))
    found = {}
    for each in played:
        if each.is_reply_exact:
            key = each.turn.conversation_id, each.turn.turn or 0
            found[key] = _step_of([row for row in each.rows if "choice" in row], purpose)
    return found


def _step_of(rows: list[Mapping[str, Any]], purpose: str) -> _Step:
    first = [(row, choice) for row in rows if (choice := Choice.from_json(row["choice"])).step == 0]
    confidences: dict[str, float] = {}
    questions = set()
    for row, choice in first:
        if row["purpose"] == purpose:
            questions.add(choice.asked)
        if choice.confidence is not None:
            lowest = min(choice.confidence, confidences.get(choice.asked, 1.0))
            confidences[choice.asked] = lowest
    is_known = bool(questions) and questions == confidences.keys()
    prices = [row["usd"] for row, _ in first]
    return _Step(
        min(confidences.values()) if is_known else None,
        None if None in prices else float(np.sum(prices)),
        len(questions),
    )


def _tried(
    option: CascadeOption,
    large: Mapping[TurnKey, TurnRow],
    small: Mapping[TurnKey, TurnRow],
    steps: Mapping[TurnKey, _Step],
    wanted: Recommendation,
) -> TriedCascade:
    """Return a cascade's map and threshold, of the turns on which both replies are known."""
    keys, figures = [], []
    for key, step in steps.items():
        one, other = small.get(key), large.get(key)
        if one is None or other is None or not other.is_reply_exact:
            continue
        raw = np.nan if step.confidence is None else step.confidence
        own = (raw, one.quality, other.quality, one.usd, other.usd, step.usd)
        if None not in own:
            keys.append(key)
            figures.append(own)
    places = {name: at for at, name in enumerate(dict.fromkeys(name for name, _ in keys))}
    columns = np.array(figures, dtype=np.float64).reshape(-1, 6).T
    of = np.array([places[name] for name, _ in keys], dtype=np.intp)
    turns = CascadeTurns(of, *columns)
    several = sum(steps[key].questions > 1 for key in keys)
    own_rows = tuple(large[key] for key in keys)
    try:
        found = fit_cascade(
            turns,
            margin=wanted.margin,
            scale_width=wanted.scale_width,
            model=option.model,
            by=option.by,
        )
    except ValueError as error:
        return TriedCascade(option, turns, own_rows, None, str(error), several=several)
    why = "" if found.threshold is not None else "no threshold is good enough and cheaper"
    return TriedCascade(option, turns, own_rows, found, why, several=several)


def _verdict(
    tried: list[TriedCascade], keys: list[TurnKey], alone: MeasuredSweep, margin_share: float
) -> tuple[Recommendation | None, list[TriedCascade]]:
    """Return the verdict on cascades that were chosen without the turns they are tested on."""
    with_threshold = [each for each in tried if each.found and each.found.threshold is not None]
    if not with_threshold:
        return None, tried
    place = {key: at for at, key in enumerate(keys)}
    names = {name: at for at, name in enumerate(dict.fromkeys(name for name, _ in keys))}
    of = np.array([names[name] for name, _ in keys], dtype=np.intp)
    usd, quality = np.full((2, len(with_threshold) + 1, len(keys)), np.nan)
    for row, each in enumerate(with_threshold, start=1):
        own = [place[key] for key in each.keys]
        if each.found is not None:
            usd[row, own], quality[row, own] = each.found.crossed.outcome(each.turns)
        usd[0, own], quality[0, own] = each.turns.large_usd, each.turns.large
    settings = (REFERENCE, *(each.option.name for each in with_threshold))
    costs, qualities = (
        Panel(settings, tuple(names), of, values, np.zeros_like(values))
        for values in (usd, quality)
    )
    unit = alone.judged.unit
    found = recommend(
        costs,
        qualities,
        margin_share=margin_share,
        scale_width=unit.width,
        unit=unit,
        cost_unit="USD per turn",
        is_simulated=alone.analysis.is_simulated,
    )
    compared = compare_with_best(qualities)
    limit = (margin_share + SLACK) * found.scale_width
    shown = {name for name in compared.settings if compared.is_not_worse(name, limit)}
    return found, [
        replace(each, is_shown=each in with_threshold and each.option.name in shown)
        for each in tried
    ]


def _to_measure(tried: list[TriedCascade]) -> dict[str, tuple[TriedCascade, ...]]:
    """Return the cheapest shown cascade of each purpose, and all of them together."""
    best: dict[str, tuple[float, TriedCascade]] = {}
    for each in tried:
        if each.is_shown and each.found is not None:
            usd, _ = each.found.crossed.outcome(each.turns)
            saved = float((usd - each.turns.large_usd).mean())
            if saved < min(0.0, best.get(each.option.purpose, (0.0, each))[0]):
                best[each.option.purpose] = saved, each
    found: dict[str, tuple[TriedCascade, ...]] = {
        each.option.name: (each,) for _, each in best.values()
    }
    if len(best) > 1:
        found[TOGETHER] = tuple(each for _, each in best.values())
    return found
