"""Staged rollout of an arm: its share rises by stages while the gate does not fail.

**The question.** Is any gated figure of the new arm worse than that of the other arm, by more than
its tolerance? Both arms run at the same time, so that a change of the day is in both.

**The checks.** A stage is checked when the new arm has a fixed number of units: `units / checks`,
twice that, and so on to `units`. Each check reads the units that had come first up to then, in the
order in which they were read. Calling `advance_rollout` more often is no further check.

**The false-return rate.** At most `alpha` over the whole rollout: each figure at each check has
`alpha / (checks x figures)`, and their sum is a limit whatever the checks have in common. Each is a
one-sided bound (`tuning/statistics/unpaired.py`), whose own rate is measured by simulation.

**What a stage that passes shows.** That no figure is shown to be worse, not that none is. How much
worse it may still be is in the state: the bound of each figure at each check.

Rejected: an interval that is valid at every moment, which needs some 1.5 times the units for the
same size; the other arm of earlier stages, whose days are others.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs.experiment import ExperimentKnobs, RolloutKnobs, RolloutShare
from callwise.knobs.gates import Gates
from callwise.recordings.held_files import replace_file
from callwise.report.run_record import RunRecord, TurnKey
from callwise.testing.gate.baseline import TurnFigures
from callwise.testing.gate.gated_figures import PER_RUN, PER_TURN, GatedFigure, Measure
from callwise.testing.gate.run_figures import baseline_of_record
from callwise.text_layout import counted
from callwise.tuning.arms import experiment_of
from callwise.tuning.statistics.bootstrap import MIN_CONVERSATIONS
from callwise.tuning.statistics.power import figure_text
from callwise.tuning.statistics.sample_ratio import MISMATCH, binomial_p
from callwise.tuning.statistics.unpaired import ArmSums, lower_bound

__all__ = ["FigureAtCheck", "Rollout", "StageCheck", "UnitSums", "advance_rollout"]
__all__ += ["check_sentence", "gated_measures"]


class _Kept(BaseModel):
    """Base of what the state's file has."""

    model_config = ConfigDict(extra="forbid")


class FigureAtCheck(_Kept):
    """One gated figure at one check, means per turn of both arms."""

    new: float | None
    other: float | None
    worse_by: float | None
    """Bound of the worsening beyond the tolerance: above 0 the gate fails. None where an arm has
    too few units."""


class StageCheck(_Kept):
    """One check of a stage."""

    stage: int
    check: int
    share: float
    new_units: int
    other_units: int
    figures: dict[str, FigureAtCheck]
    failed: list[str]
    """Figures that are shown to be worse."""


class UnitSums(_Kept):
    """A unit of the present stage: its arm, its turns, and sum and known turns of each figure."""

    arm: str
    turns: list[tuple[str, int]]
    sums: dict[str, tuple[float, int]]


class Rollout(_Kept, RolloutShare):
    """The state of a rollout, as its file has it."""

    other: str
    status: Literal["running", "returned", "complete"] = "running"
    stage: int = Field(default=0, ge=0)
    units: dict[str, UnitSums] = {}
    """Units of the present stage, in the order in which they were read."""
    next_check: int = Field(default=1, ge=1)
    checks: list[StageCheck] = []

    @classmethod
    def begun(cls, experiment: str, arm: str, other: str, *, share: float) -> Self:
        """Return a rollout at its beginning."""
        return cls(callwise_rollout=1, experiment=experiment, arm=arm, other=other, share=share)

    @classmethod
    def read(cls, path: Path, experiment: ExperimentKnobs, plan: RolloutKnobs) -> Self:
        """Return the state of a file, or a new one where there is none.

        Raises:
            FormatError: when it is no state, or that of another rollout.
        """
        other = experiment.control
        found = cls.read_file(path, experiment.name, plan.arm)
        if found is None:
            return cls.begun(experiment.name, plan.arm, other, share=plan.stages[0])
        if found.other != other:
            raise FormatError(
                path,
                None,
                f"is a rollout next to the arm {found.other!r}, and the other arm of the run is "
                f"{other!r}: give each rollout its own file",
            )
        if found.status == "running" and (
            found.stage >= len(plan.stages) or found.share != plan.stages[found.stage]
        ):
            raise FormatError(
                path,
                None,
                f"is at share {found.share:g} in stage {found.stage + 1}, and the run's stages are "
                f"{', '.join(f'{each:g}' for each in plan.stages)}: keep the stages of a rollout "
                "that has begun, or begin again with another file",
            )
        return found

    def write(self, path: Path) -> None:
        """Put the state in the place of its file, whole.

        Raises:
            ConfigError: when it cannot be written.
        """
        data = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        try:
            replace_file(path, data + b"\n")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error

    @property
    def sentence(self) -> str:
        """The state in one sentence, for people."""
        what = f"{self.arm} of experiment {self.experiment}"
        if self.status == "returned":
            failed = ", ".join(self.checks[-1].failed) if self.checks else ""
            return f"returned: {what} is at 0 %, since it is worse in {failed}"
        if self.status == "complete":
            return f"complete: {what} is at 100 %"
        have = sum(unit.arm == self.arm for unit in self.units.values())
        return (
            f"stage {self.stage + 1}: {what} is at {100 * self.share:g} %, with "
            f"{counted(have, 'unit')} of it read in this stage"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the state without its units, for scripts."""
        document: dict[str, Any] = self.model_dump(mode="json", exclude={"units"})
        return document

    def tell(self, turns: Iterable[tuple[str, str, TurnFigures]], gates: Gates) -> int:
        """Add turns of the present stage, each with its unit and arm; return how many were new.

        Raises:
            ConfigError: when a gated figure of a turn is not known.
        """
        measures = gated_measures(gates)
        added = 0
        for name, arm, turn in turns:
            unit = self.units.setdefault(name, UnitSums(arm=arm, turns=[], sums={}))
            if turn.key in unit.turns or arm != unit.arm:
                continue
            unit.turns.append(turn.key)
            added += 1
            for figure, (_, measure) in measures.items():
                value = measure(turn)
                if value is None and figure is not GatedFigure.QUALITY:
                    raise ConfigError(
                        f"cannot gate {figure}: turn {turn.turn} of {turn.conversation!r} does not "
                        "record it, and unknown is not 0; leave it out of experiment.rollout.gates"
                    )
                total, known = unit.sums.get(figure, (0.0, 0))
                if value is not None:
                    unit.sums[figure] = (total + value, known + 1)
        return added

    def decide(self, plan: RolloutKnobs, *, seed: int = 0) -> list[StageCheck]:
        """Make the checks that are due, move on or return, and return these checks.

        The units after the last check of a stage had its share and are left out of the next one.
        """
        made: list[StageCheck] = []
        gates = Gates(**plan.gates)
        while self.status == "running" and self.stage < len(plan.stages) - 1:
            wanted = -(-plan.units * self.next_check // plan.checks)
            is_last = self.next_check == plan.checks
            # A stage does not end on figures without a bound.
            units = self._first(wanted, gated_measures(gates) if is_last else ())
            if units is None:
                break
            check = self._check_stage(units, plan, gates, seed)
            self.checks.append(check)
            made.append(check)
            if check.failed:
                self.status, self.share, self.units = "returned", 0.0, {}
            elif self.next_check < plan.checks:
                self.next_check += 1
            else:
                self.stage, self.next_check, self.units = self.stage + 1, 1, {}
                self.share = plan.stages[self.stage]
        if self.status == "running" and self.stage == len(plan.stages) - 1:
            self.status = "complete"
        return made

    def _first(self, wanted: int, figures: Iterable[GatedFigure] = ()) -> list[UnitSums] | None:
        """Return the units up to the one that makes so many of the new arm; None for fewer.

        Args:
            figures: those that an interval is needed of: so many units of both arms have them.
        """
        found: list[UnitSums] = []
        have = 0
        known = {(figure, arm): 0 for figure in figures for arm in (self.arm, self.other)}
        for unit in self.units.values():
            found.append(unit)
            have += unit.arm == self.arm
            for figure, (_, count) in unit.sums.items():
                if count and (figure, unit.arm) in known:
                    known[GatedFigure(figure), unit.arm] += 1
            if have >= wanted and all(each >= MIN_CONVERSATIONS for each in known.values()):
                return found
        return None

    def _check_stage(
        self, units: list[UnitSums], plan: RolloutKnobs, gates: Gates, seed: int
    ) -> StageCheck:
        measures = gated_measures(gates)
        alpha = plan.alpha / (plan.checks * (len(plan.stages) - 1) * len(measures))
        figures: dict[str, FigureAtCheck] = {}
        for place, (figure, (tolerance, _)) in enumerate(measures.items()):
            new, other = (
                ArmSums.of_sums(
                    unit.sums.get(figure, (0.0, 0)) for unit in units if unit.arm == arm
                )
                for arm in (self.arm, self.other)
            )
            stream = seed + 1_000 * len(self.checks) + place
            if figure is GatedFigure.QUALITY:
                bound = lower_bound(other, new, alpha=alpha, seed=stream)
                worse_by = None if bound is None else bound - tolerance
            else:
                worse_by = lower_bound(new, other, alpha=alpha, scale=1 + tolerance, seed=stream)
            figures[figure] = FigureAtCheck(new=new.mean, other=other.mean, worse_by=worse_by)
        return StageCheck(
            stage=self.stage + 1,
            check=self.next_check,
            share=self.share,
            new_units=sum(unit.arm == self.arm for unit in units),
            other_units=sum(unit.arm == self.other for unit in units),
            figures=figures,
            failed=[
                name
                for name, each in figures.items()
                if each.worse_by is not None and each.worse_by > _ROUNDING
            ],
        )


_ROUNDING = 1e-9
"""A worsening that is none: sums of floats may differ in their last digits."""


def gated_measures(gates: Gates) -> dict[GatedFigure, tuple[float, Measure]]:
    """Return tolerance and measure of each gated figure."""
    calls: tuple[GatedFigure, str, Measure] = (
        GatedFigure.CALLS, "calls", lambda turn: turn.asked_count
    )  # fmt: skip
    return {
        figure: (tolerance, measure)
        for figure, gate, measure in (calls, *PER_TURN, *PER_RUN)
        if (tolerance := getattr(gates, gate)) is not None
    }


def check_sentence(check: StageCheck) -> str:
    """Return one check as a sentence, for people."""
    figures = ", ".join(
        f"{name} {_mean(each.new)} ({_mean(each.other)})" for name, each in check.figures.items()
    )
    without = [name for name, each in check.figures.items() if each.worse_by is None]
    if check.failed:
        end = f"worse: {', '.join(check.failed)}"
    elif len(without) == len(check.figures):
        end = "nothing checked"
    else:
        end = "nothing shown to be worse"
    if without:
        end += f", too few units for {', '.join(without)}"
    ratio_p = binomial_p(check.new_units, check.new_units + check.other_units, check.share)
    if ratio_p < MISMATCH:
        end += (
            f"; sample-ratio mismatch (p = {ratio_p:.2g} for the share {check.share:g}): units of "
            "an arm are lost or counted twice, find out which before going on"
        )
    return (
        f"stage {check.stage}, check {check.check}, {check.new_units:,} and {check.other_units:,} "
        f"units: {end}; per turn, the other arm in brackets: {figures}"
    )


def _mean(value: float | None) -> str:
    return "unknown" if value is None else figure_text(value)


def advance_rollout(
    run: RunRecord, path: Path, *, quality: Mapping[TurnKey, float] | None = None
) -> tuple[Rollout, list[str]]:
    """Read a run into the state of its rollout, and return the state and what happened.

    A turn that was read before is not read again, so the same run may be given many times. One
    process at a time changes the file.

    Args:
        quality: of replies, by conversation and turn, for the gate `quality`.

    Raises:
        ConfigError: when the run has no rollout, a gated figure is not known, or the file cannot
            be written.
        FormatError: when the file or the run cannot be read.
    """
    experiment = experiment_of(run)
    plan = None if experiment is None else experiment.rollout
    if experiment is None or plan is None:
        raise ConfigError(
            f"{run.folder} has no rollout: run it with the knobs `experiment.rollout.arm` and "
            "`experiment.rollout.state`"
        )
    gates = Gates(**plan.gates)
    if gates.quality is not None and quality is None:
        raise ConfigError(
            "the rollout gates quality, and no scores are given: add --scores, or leave quality "
            "out of experiment.rollout.gates"
        )
    figures = {turn.key: turn for turn in baseline_of_record(run, quality=quality).turns}
    share = experiment.shares[plan.arm]
    with FileLock(f"{path}.lock"):
        rollout = Rollout.read(path, experiment, plan)
        said: list[str] = []
        if rollout.status == "running" and share != rollout.share:
            said.append(
                f"not read: the run has share {share:g} of {plan.arm}, and the rollout is at "
                f"{rollout.share:g}"
            )
        elif rollout.status == "running":
            units = (experiment.unit_of(turn.conversation_id, turn.user_id) for turn in run.turns)
            added = rollout.tell(
                (
                    (unit, turn.arm, figures[turn.key])
                    for unit, turn in zip(units, run.turns, strict=True)
                    if turn.arm in experiment.arms
                ),
                gates,
            )
            said.append(f"{counted(added, 'turn')} read")
            said += map(check_sentence, rollout.decide(plan))
        rollout.write(path)
    return rollout, said
