"""Settings of a sweep: by name, as a grid, at random, or by what earlier ones gave.

Every setting that is known before the sweep begins is validated before the first one runs, so a
sweep of an hour does not end in an unknown knob.

NSGA-II and TPE (of optuna) choose as they go. A batch of fixed size is asked for, evaluated on any
number of workers, and its values are given to the study in the order in which it was asked for.
Each batch has a sampler seeded by the sweep's seed and the batch's number, so its settings follow
from the values of earlier batches alone: the same seed tries the same settings at any number of
workers and after any interruption. The values are stored by batch; a sweep that continues gives
them to a new study in memory.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from pydantic import JsonValue

from callwise.calls.errors import ConfigError
from callwise.optional_library import install_hint, loaded
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Evaluator, Setting, make_setting
from callwise.tuning.sweep_spec import (
    KnobRange,
    ObjectiveValues,
    SweepSpec,
    flat_knobs,
    mean_figures,
)
from callwise.tuning.sweep_store import SweepStore
from callwise.tuning.sweep_workers import run_sweep

if TYPE_CHECKING:
    import optuna

__all__ = ["LeftOut", "StudyOutcome", "SweepPlan", "Validate", "plan_settings", "run_study"]

Validate = Callable[[Setting], object]
"""Called with a setting; raises `ConfigError` where its knobs cannot work together."""

SIGNIFICANT_DIGITS = 4
"""Significant digits of drawn numbers: more would make names unreadable."""

_MAX_DRAWS_PER_TRIAL = 20
_MAX_PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A setting that was not tried, and why."""

    setting: str
    reason: str


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """The settings that a sweep begins with.

    Args:
        settings: distinct, in the order in which they are tried. Of an adaptive sampler only
            those given by name: it chooses the others as it goes.
    """

    settings: tuple[Setting, ...]
    left_out: tuple[LeftOut, ...] = ()


def plan_settings(spec: SweepSpec, *, preset: str, validate: Validate) -> SweepPlan:
    """Return the settings of a sweep, each validated.

    Args:
        preset: where the sweep names none: what the recording was made with.

    Raises:
        ConfigError: when there are more than `max_settings`, when two different ones have one
            name, or when one cannot run and the sweep does not skip it. Those given by name
            are never skipped, and not all combinations may be.
    """
    fixed = flat_knobs(spec.fixed)
    named = [
        make_setting(
            each.preset or spec.preset or preset, fixed, flat_knobs(each.fixed), name=each.name
        )
        for each in spec.settings
    ]
    _refuse_problems({s.name: _problem_of(s, validate) for s in named}, is_skipping=False)
    if spec.sampler in {"nsga2", "tpe"}:
        _check_size(spec, len(named) + spec.trials)
        _check_ends(spec, preset, validate)
        drawn: list[Setting] = []
    elif spec.sampler == "random":
        _check_size(spec, len(named) + spec.trials)
        drawn = _drawn(spec, preset)
    else:
        _check_size(spec, len(named) + math.prod(map(len, spec.knobs.values())))
        combinations = itertools.product(*spec.knobs.values()) if spec.knobs else []
        drawn = [
            _setting_of(spec, preset, dict(zip(spec.knobs, values, strict=True)))
            for values in combinations
        ]
    distinct = _distinct([*named, *drawn])
    known = {setting.name for setting in named}
    problems = {s.name: _problem_of(s, validate) for s in distinct if s.name not in known}
    _refuse_problems(problems, is_skipping=spec.skip_impossible)
    return SweepPlan(
        settings=tuple(s for s in distinct if not problems.get(s.name)),
        left_out=tuple(LeftOut(name, reason) for name, reason in problems.items() if reason),
    )


def _setting_of(spec: SweepSpec, preset: str, swept: Mapping[str, JsonValue]) -> Setting:
    """Return the setting of a sweep with these values of its swept knobs."""
    return make_setting(spec.preset or preset, flat_knobs(spec.fixed), swept)


def _drawn(spec: SweepSpec, preset: str) -> list[Setting]:
    """Draw distinct settings; fewer than asked for where the space has no more."""
    rng = np.random.default_rng(spec.seed)
    found: dict[object, Setting] = {}
    for _ in range(spec.trials * _MAX_DRAWS_PER_TRIAL):
        swept = {knob: _draw(values, rng) for knob, values in spec.space.items()}
        setting = _setting_of(spec, preset, swept)
        found.setdefault(setting.identity, setting)
        if len(found) == spec.trials:
            break
    return list(found.values())


def _draw(values: KnobRange | list[JsonValue], rng: np.random.Generator) -> JsonValue:
    if isinstance(values, list):
        return values[int(rng.integers(len(values)))]
    low, high = values.low, values.high
    if values.step is not None or (values.is_whole and not values.log):
        step = values.step or 1
        last = math.floor((high - low) / step + 1e-9)
        return _rounded(low + int(rng.integers(last + 1)) * step, values)
    top = high + 1 if values.is_whole else high
    share = float(rng.random())
    drawn = low * (top / low) ** share if values.log else low + (top - low) * share
    return _rounded(math.floor(drawn) if values.is_whole else drawn, values)


def _rounded(number: float, values: KnobRange) -> int | float:
    """Return a drawn number with few digits, whole where the range is, and inside of it."""
    if values.is_whole:
        return min(max(int(number), int(values.low)), int(values.high))
    short = float(f"{number:.{SIGNIFICANT_DIGITS}g}")
    return float(min(max(short, values.low), values.high))


def _distinct(settings: Iterable[Setting]) -> list[Setting]:
    """Return settings without those that do the same as an earlier one."""
    by_identity: dict[object, Setting] = {}
    by_name: dict[str, Setting] = {}
    for setting in settings:
        if setting.identity in by_identity:
            continue
        if setting.name in by_name:
            raise ConfigError(f"two different settings are named {setting.name!r}; rename one")
        by_identity[setting.identity] = by_name[setting.name] = setting
    return list(by_identity.values())


def _check_size(spec: SweepSpec, count: int) -> None:
    if count > spec.max_settings:
        raise ConfigError(
            f"the sweep has {count} settings, more than max_settings={spec.max_settings}; "
            "take values out, draw some with `sampler: random`, or raise max_settings"
        )


def _problem_of(setting: Setting, validate: Validate) -> str:
    """Return why a setting cannot run; empty where it can."""
    try:
        validate(setting)
    except ConfigError as error:
        return str(error)
    return ""


def _refuse_problems(problems: Mapping[str, str], *, is_skipping: bool) -> None:
    """Refuse settings that cannot run, one line per reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in problems.items():
        if reason:
            by_reason.setdefault(reason, []).append(name)
    bad_count = sum(map(len, by_reason.values()))
    if not bad_count or (is_skipping and bad_count < len(problems)):
        return
    lines = [
        f"setting {names[0]!r}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in by_reason.items()
    ]
    if len(lines) > _MAX_PROBLEMS_SHOWN:
        lines = [*lines[:_MAX_PROBLEMS_SHOWN], f"and {len(lines) - _MAX_PROBLEMS_SHOWN} more"]
    if bad_count < len(problems):
        lines.append("`skip_impossible: true` leaves combinations out that cannot run")
    raise ConfigError("\n".join(lines))


def _check_ends(spec: SweepSpec, preset: str, validate: Validate) -> None:
    """Try each knob's values alone, so that a misspelt one is found before anything runs."""
    for knob, values in spec.space.items():
        ends = values if isinstance(values, list) else [values.low, values.high]
        alone = [_setting_of(spec, preset, {knob: end}) for end in ends]
        problems = {s.name: _problem_of(s, validate) for s in alone}
        _refuse_problems(problems, is_skipping=spec.skip_impossible)


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
    return loaded("optuna", f"the samplers nsga2 and tpe need an extra: {install_hint('tune')}")


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
            swept[knob] = _rounded(drawn, values)
        else:
            # By type too: 1, 1.0 and true are equal, and different settings.
            swept[knob] = next(
                value
                for value in values
                if type(_choice(value)) is type(drawn) and _choice(value) == drawn
            )
    return swept


def _asked(trial: "optuna.Trial", spec: SweepSpec, preset: str, validate: Validate) -> _AskedTrial:
    setting = _setting_of(spec, preset, _values_asked(trial.params, spec))
    problem = _problem_of(setting, validate)
    if problem and not spec.skip_impossible:
        raise ConfigError(
            f"setting {setting.name!r}: {problem}\n"
            "`skip_impossible: true` leaves combinations out that cannot run"
        )
    return _AskedTrial(trial, setting, problem)


def _told(
    asked: _AskedTrial, store: SweepStore, values_of: Callable[[Sequence[TurnRow]], ObjectiveValues]
) -> ObjectiveValues:
    name = asked.setting.name
    problem = asked.problem or store.errors.get(name, "")
    return problem or values_of(tuple(store.rows([name])))
