"""A run by the arms of its experiment: figures per turn of each arm, and their differences.

The unit is what was given an arm, a conversation or a user. A unit whose turns are of several arms,
as after a raised share of a rollout, is in no figure and is counted.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from callwise.budget.usage import NO_USAGE
from callwise.calls.errors import ConfigError
from callwise.knobs.experiment import ExperimentKnobs
from callwise.report.run_record import CallLine, RunRecord, TurnKey, TurnLine, calls_by_turn
from callwise.report.table import Cell, Share, Table
from callwise.report.totals import seconds_name_of, sum_calls
from callwise.text_layout import counted
from callwise.tuning.panel import measured_panel
from callwise.tuning.statistics.bootstrap import Interval, mean_intervals
from callwise.tuning.statistics.power import interval_text
from callwise.tuning.statistics.sample_ratio import MISMATCH, sample_ratio_p
from callwise.tuning.statistics.unpaired import ArmDifference, ArmSums, compare_arms

__all__ = ["ARM_FIGURES", "ArmReport", "arm_report", "arm_tables", "experiment_of"]

Measure = Callable[[TurnLine, Sequence[CallLine]], float | None]


def _tokens(_turn: TurnLine, rows: Sequence[CallLine]) -> float | None:
    usage = sum((row.usage for row in rows), start=NO_USAGE)
    return None if usage.unknown_usage else usage.input_tokens + usage.output_tokens


ARM_FIGURES: Mapping[str, Measure] = {
    "calls": lambda _, rows: sum(not row.is_refused for row in rows),
    "requests": lambda _, rows: sum(row.usage.requests for row in rows),
    "tokens": _tokens,
    "usd": lambda _, rows: sum_calls(rows).usd,
    "seconds": lambda turn, _: turn.spans[3],
    "failed": lambda turn, rows: float(bool(turn.degraded) or any(r.is_unreadable for r in rows)),
}
"""Figures of a turn: refused calls are left out of `calls`, `failed` is 1 for a turn that is
degraded or has an unreadable answer, and `seconds` are those of its longest chain of calls."""


@dataclass(frozen=True, slots=True)
class ArmReport:
    """A run by arm.

    Args:
        experiment: name of the experiment; empty where the run names none.
        control: the arm that the others are compared with.
        shares: by arm, where they are known.
        units: by arm, those in the figures.
        turns: by arm, likewise.
        figures: the interval by figure and arm. A figure that no turn has is left out.
        differences: by figure and arm, each arm less the control.
        ratio_p: p-value of the sample ratio; None where the shares are not known.
        moved: units with turns of several arms, which are in no figure.
    """

    experiment: str
    unit: str
    control: str
    shares: Mapping[str, float]
    units: Mapping[str, int]
    turns: Mapping[str, int]
    figures: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, ArmDifference]]
    ratio_p: float | None
    moved: int
    seconds_name: str
    is_simulated: bool

    @property
    def warnings(self) -> list[str]:
        """Reasons to distrust the comparison; empty without any."""
        found = []
        if self.ratio_p is not None and self.ratio_p < MISMATCH:
            have = ", ".join(f"{arm} {count:,}" for arm, count in self.units.items())
            shares = ", ".join(f"{arm} {share:g}" for arm, share in self.shares.items())
            found.append(
                f"sample-ratio mismatch (p = {self.ratio_p:.2g}): {have} {self.unit}s for the "
                f"shares {shares}. Some are lost or counted twice, so the arms are not comparable; "
                "find out which before reading the differences"
            )
        if self.moved:
            units = counted(self.moved, self.unit)
            found.append(f"left out of all figures: {units} with turns of several arms")
        of_calls = self.differences.get("calls", {}).values()
        found += dict.fromkeys(each.alone.why_none for each in of_calls if each.alone.why_none)
        return found


def experiment_of(run: RunRecord) -> ExperimentKnobs | None:
    """Return the experiment that a run's settings name, or None.

    Raises:
        ConfigError: when it cannot be read.
    """
    knobs = run.manifest.get("knobs")
    given = knobs.get("experiment") if isinstance(knobs, dict) else None
    if given is None:
        return None
    try:
        return ExperimentKnobs.model_validate(given)
    except ValidationError as error:
        raise ConfigError(
            f"{run.folder} names an experiment that cannot be read: {error}"
        ) from error


def arm_report(
    run: RunRecord,
    *,
    arms: Mapping[str, str] | None = None,
    control: str | None = None,
    quality: Mapping[TurnKey, float] | None = None,
    quality_name: str = "quality",
    level: float = 0.95,
    seed: int = 0,
) -> ArmReport:
    """Return a run's figures by arm, with intervals and differences from the control.

    Args:
        arms: the arm by conversation, for a program that was split by `assign` and whose turns
            do not name it.
        control: None takes the experiment's, or the first arm by name.
        quality: by conversation and turn, where the replies were judged.
        quality_name: name of that figure, such as `rating`.

    Raises:
        ConfigError: when turns name no arm, the control is none, or a quality is no finite number.
    """
    for (name, number), value in (quality or {}).items():
        if not math.isfinite(value):
            raise ConfigError(
                f"the {quality_name} of turn {number} of {name!r:.80} is {value}: leave a turn out "
                "whose quality is not known"
            )
    experiment = experiment_of(run)

    def unit_of(turn: TurnLine) -> str:
        if experiment is None:
            return turn.conversation_id
        return experiment.unit_of(turn.conversation_id, turn.user_id)

    arm_of_turn = {turn.key: (arms or {}).get(turn.conversation_id, turn.arm) for turn in run.turns}
    by_unit: dict[str, set[str]] = defaultdict(set)
    for turn in run.turns:
        by_unit[unit_of(turn)].add(arm_of_turn[turn.key])
    moved = {name for name, found in by_unit.items() if len(found) > 1}
    kept = [turn for turn in run.turns if arm_of_turn[turn.key]]
    if not kept:
        raise ConfigError(
            f"no turn of {run.folder} names an arm: run it with an experiment (knobs "
            "`experiment.name` and `experiment.arms`), or give the arms in Python"
        )
    kept = [turn for turn in kept if unit_of(turn) not in moved]
    shares = {} if experiment is None or arms is not None else experiment.shares
    names = sorted({*shares, *(arm_of_turn[turn.key] for turn in kept)})
    control = control or (experiment.control if shares and experiment else names[0])
    if control not in names:
        raise ConfigError(f"there is no arm {control!r}; the run has {', '.join(names)}")
    names.sort(key=lambda name: (name != control, name))
    turns_of: dict[str, list[TurnLine]] = {name: [] for name in names}
    for turn in kept:
        turns_of[arm_of_turn[turn.key]].append(turn)
    units = {name: len({unit_of(turn) for turn in turns}) for name, turns in turns_of.items()}
    calls = calls_by_turn(run.turns, run.rows)
    measures: dict[str, Measure] = dict(ARM_FIGURES)
    if quality is not None:
        measures[quality_name] = lambda turn, _: quality.get(turn.key)
    values = {
        figure: {
            name: [(unit_of(turn), measure(turn, calls[turn.key])) for turn in turns_of[name]]
            for name in names
        }
        for figure, measure in measures.items()
    }
    values = {
        figure: of_arms
        for figure, of_arms in values.items()
        if any(value is not None for pairs in of_arms.values() for _, value in pairs)
    }
    return ArmReport(
        experiment=experiment.name if experiment is not None else "",
        unit="conversation" if experiment is None else experiment.unit,
        control=control,
        shares={name: shares[name] for name in names if name in shares},
        units=units,
        turns={name: len(turns) for name, turns in turns_of.items()},
        figures={
            figure: {name: _interval(pairs, level, seed) for name, pairs in of_arms.items()}
            for figure, of_arms in values.items()
        },
        differences={
            figure: compare_arms(
                {name: ArmSums.of_turns(pairs) for name, pairs in of_arms.items()},
                control,
                level=level,
                seed=seed,
            )
            for figure, of_arms in values.items()
        },
        ratio_p=sample_ratio_p(units, shares) if shares else None,
        moved=len(moved),
        seconds_name=seconds_name_of(run.rows),
        is_simulated=run.is_simulated,
    )


def _interval(pairs: Sequence[tuple[str, float | None]], level: float, seed: int) -> Interval:
    names, values = [name for name, _ in pairs], [value for _, value in pairs]
    return mean_intervals(measured_panel({"arm": values}, names), level=level, seed=seed)["arm"]


def _shown(found: Interval) -> Cell:
    if found.mean is None:
        return "unknown"
    text = interval_text(found).partition(" (no interval")[0]
    return text.removesuffix(" in every conversation")


def _verdict(found: ArmDifference) -> str:
    together = found.together
    if together.low is None:
        return "no interval"
    if together.low == together.high == 0:
        return "equal"
    return "higher" if found.is_higher else "lower" if found.is_lower else "open"


def arm_tables(report: ArmReport) -> tuple[Table, Table, Table]:
    """Return the table by arm, that of differences, and the figures of both as numbers."""
    label = " (simulated)" if report.is_simulated else ""
    name = f" of {report.experiment}" if report.experiment else ""
    heads = {"seconds": report.seconds_name.replace(" ", "_"), "failed": "failed_turns"}
    by_arm = Table(
        "arms",
        f"Arms{name}, means per turn, 95 % intervals over {report.unit}s{label}",
        (
            "arm",
            "share",
            f"{report.unit}s",
            "turns",
            *(heads.get(figure, figure) for figure in report.figures),
        ),
        tuple(
            (
                arm,
                Share(report.shares[arm]) if arm in report.shares else "unknown",
                units,
                report.turns[arm],
                *(_shown(of_arms[arm]) for of_arms in report.figures.values()),
            )
            for arm, units in report.units.items()
        ),
        keeps=("calls",),
    )
    rows: list[tuple[Cell, ...]] = []
    for figure, of_arms in report.differences.items():
        for arm, found in of_arms.items():
            rows.append(
                (
                    heads.get(figure, figure),
                    arm,
                    _shown(found.together),
                    "" if found.p_adjusted is None else f"{found.p_adjusted:.3g}",
                    _verdict(found),
                )
            )
    differences = Table(
        "arm_differences",
        f"Arms less {report.control}, intervals that are right for all arms together{label}",
        ("figure", "arm", "difference", "p", "verdict"),
        tuple(rows),
        keeps=("verdict",),
    )
    return by_arm, differences, _numbers(report)


def _numbers(report: ArmReport) -> Table:
    """Return every figure of every arm in one row, as numbers: for CSV and JSON."""
    rows: list[tuple[Cell, ...]] = []
    for figure, of_arms in report.figures.items():
        for arm, found in of_arms.items():
            apart = report.differences[figure].get(arm)
            together = None if apart is None else apart.together
            rows.append(
                (
                    arm,
                    figure,
                    found.mean,
                    found.low,
                    found.high,
                    found.conversations,
                    found.turns,
                    *(
                        (None,) * 4
                        if apart is None or together is None
                        else (together.mean, together.low, together.high, apart.p_adjusted)
                    ),
                )
            )
    return Table(
        "arm_figures",
        "Figures by arm",
        (
            "arm",
            "figure",
            "mean",
            "low",
            "high",
            f"{report.unit}s",
            "turns",
            "difference",
            "difference_low",
            "difference_high",
            "p_adjusted",
        ),
        tuple(rows),
    )
