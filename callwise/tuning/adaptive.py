"""Settings that are chosen by what earlier ones gave: NSGA-II and TPE, by optuna.

A batch of fixed size is asked for, evaluated on any number of workers, and its values are given
to the study in the order in which it was asked for. Each batch has a sampler seeded by the sweep's
seed and the batch's number, so its settings follow from the values of earlier batches alone: the
same seed tries the same settings at any number of workers and after any interruption. The values
are stored by batch; a sweep that continues gives them to a new study in memory.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from pydantic import JsonValue

from callwise.calls.errors import ConfigError
from callwise.tuning.grid import LeftOut, Validate, problem_of, rounded, setting_of
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Evaluator, Setting
from callwise.tuning.sweep_spec import KnobRange, ObjectiveValues, SweepSpec, mean_figures
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.sweep_workers import run_sweep

if TYPE_CHECKING:
    import optuna

__all__ = ["StudyOutcome", "run_study"]

_CHOICE_KINDS = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """The settings that an adaptive sampler tried.

    Args:
        failed: trials without objectives, and why: combinations that cannot run, settings
            whose figures are not known.
    """

    settings: tuple[Setting, ...]
    failed: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _AskedTrial:
    trial: "optuna.Trial"
    setting: Setting
    problem: str


def run_study(
    spec: SweepSpec,
    evaluator: Evaluator,
    store: SweepStore,
    *,
    preset: str,
    validate: Validate,
    values_of: Callable[[Sequence[TurnRow]], ObjectiveValues] | None = None,
    **options: Any,
) -> StudyOutcome:
    """Ask for settings and evaluate them, batch by batch, until the sweep has its trials.

    Args:
        spec: a sweep whose sampler is `nsga2` or `tpe`. Plan it first (`plan_settings`), so
            that a misspelt knob is found before anything runs.
        values_of: returns a setting's objectives, or the reason why they are not known; None
            takes the means that the sweep names.
        options: of `run_sweep`; a batch is its total.

    Raises:
        ConfigError: when optuna is not installed, or a combination cannot run and the sweep
            does not skip those.
        Exception: all that `run_sweep` raises; earlier batches are stored.
    """
    values_of = values_of or mean_figures(spec.objectives, spec.min_known_share)
    space = {knob: _distribution(values) for knob, values in spec.space.items()}
    stored = store.trials
    settings: dict[str, Setting] = {}
    failed: dict[str, LeftOut] = {}
    goals = {"min": "minimize", "max": "maximize"}
    with _quiet():
        directions = [goals[objective.goal] for objective in spec.objectives]
        study: optuna.Study = _optuna().create_study(directions=directions)
    for batch, start in enumerate(range(0, spec.trials, spec.batch)):
        size = min(spec.batch, spec.trials - start)
        study.sampler = _sampler(spec, batch)
        with _quiet():
            trials = [study.ask(fixed_distributions=space) for _ in range(size)]
        asked = [_asked(trial, spec, preset, validate) for trial in trials]
        told = stored[start : start + size]
        if not told:
            possible = {each.setting.name: each.setting for each in asked if not each.problem}
            run_sweep(list(possible.values()), evaluator, store, **options)
            told = [(each.setting.name, _told(each, store, values_of)) for each in asked]
            store.add_trials(told)
        if [each.setting.name for each in asked] != [name for name, _ in told]:
            raise ConfigError(
                f"the trials stored in {store.path} are not those that the sampler asks for now, "
                "perhaps because another version of optuna chose them: start over with --fresh"
            )
        for each, (name, values) in zip(asked, told, strict=True):
            settings.setdefault(name, each.setting)
            with _quiet():
                if isinstance(values, str):
                    failed[name] = LeftOut(name, values)
                    study.tell(each.trial, state=_optuna().trial.TrialState.FAIL)
                else:
                    study.tell(each.trial, list(values))
    return StudyOutcome(tuple(settings.values()), tuple(failed.values()))


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - heavy, and an extra
    except ImportError as error:
        raise ConfigError(
            "the samplers nsga2 and tpe need an extra: pip install 'callwise[tune]'"
        ) from error
    return optuna


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence optuna's log and its warnings about experimental parts."""
    log = _optuna().logging
    verbosity = log.get_verbosity()
    log.set_verbosity(log.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)


def _sampler(spec: SweepSpec, batch: int) -> Any:
    samplers = _optuna().samplers
    seed = int(np.random.SeedSequence([spec.seed, batch]).generate_state(1)[0])
    with _quiet():
        if spec.sampler == "nsga2":
            return samplers.NSGAIISampler(population_size=spec.batch, seed=seed)
        # Trials of a batch have no values when the next one is asked for; without the liar they
        # would all be the same.
        return samplers.TPESampler(n_startup_trials=spec.batch, constant_liar=True, seed=seed)


def _distribution(values: KnobRange | list[JsonValue]) -> Any:
    kinds = _optuna().distributions
    if isinstance(values, list):
        return kinds.CategoricalDistribution([_choice(value) for value in values])
    if values.is_whole:
        return kinds.IntDistribution(values.low, values.high, step=values.step or 1, log=values.log)
    return kinds.FloatDistribution(values.low, values.high, step=values.step, log=values.log)


def _choice(value: JsonValue) -> Any:
    """Return a value as optuna takes it: lists and mappings as their JSON."""
    return value if isinstance(value, _CHOICE_KINDS) else orjson.dumps(value).decode()


def _values_asked(params: Mapping[str, Any], spec: SweepSpec) -> dict[str, JsonValue]:
    swept: dict[str, JsonValue] = {}
    for knob, values in spec.space.items():
        drawn = params[knob]
        if isinstance(values, KnobRange):
            swept[knob] = rounded(drawn, values)
        else:
            # By type too: 1, 1.0 and true are equal, and different settings.
            swept[knob] = next(
                value
                for value in values
                if type(_choice(value)) is type(drawn) and _choice(value) == drawn
            )
    return swept


def _asked(trial: "optuna.Trial", spec: SweepSpec, preset: str, validate: Validate) -> _AskedTrial:
    setting = setting_of(spec, preset, _values_asked(trial.params, spec))
    problem = problem_of(setting, validate)
    if problem and not spec.skip_impossible:
        raise ConfigError(
            f"setting {setting.name!r}: {problem}\n"
            "`skip_impossible: true` leaves combinations out that cannot run"
        )
    return _AskedTrial(trial, setting, problem)


def _told(
    asked: _AskedTrial, store: SweepStore, values_of: Callable[[Sequence[TurnRow]], ObjectiveValues]
) -> ObjectiveValues:
    """Return the objectives of a setting, or why they are not known."""
    name = asked.setting.name
    problem = asked.problem or store.errors.get(name, "")
    return problem or values_of(tuple(store.rows([name])))
