"""Settings of a sweep that are known before it begins: by name, as a grid, at random.

Every setting is validated before the first one runs, so a sweep of an hour does not end in an
unknown knob.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from callwise.calls.errors import ConfigError
from callwise.tuning.setting import Setting, make_setting
from callwise.tuning.sweep_spec import KnobRange, SweepSpec, flat_knobs

__all__ = [
    "LeftOut",
    "SweepPlan",
    "Validate",
    "plan_settings",
    "problem_of",
    "rounded",
    "setting_of",
]

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
    _refuse_problems({s.name: problem_of(s, validate) for s in named}, is_skipping=False)
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
            setting_of(spec, preset, dict(zip(spec.knobs, values, strict=True)))
            for values in combinations
        ]
    distinct = _distinct([*named, *drawn])
    known = {setting.name for setting in named}
    problems = {s.name: problem_of(s, validate) for s in distinct if s.name not in known}
    _refuse_problems(problems, is_skipping=spec.skip_impossible)
    return SweepPlan(
        settings=tuple(s for s in distinct if not problems.get(s.name)),
        left_out=tuple(LeftOut(name, reason) for name, reason in problems.items() if reason),
    )


def setting_of(spec: SweepSpec, preset: str, swept: Mapping[str, JsonValue]) -> Setting:
    """Return the setting of a sweep with these values of its swept knobs."""
    return make_setting(spec.preset or preset, flat_knobs(spec.fixed), swept)


def _drawn(spec: SweepSpec, preset: str) -> list[Setting]:
    """Draw distinct settings; fewer than asked for where the space has no more."""
    rng = np.random.default_rng(spec.seed)
    found: dict[object, Setting] = {}
    for _ in range(spec.trials * _MAX_DRAWS_PER_TRIAL):
        swept = {knob: _draw(values, rng) for knob, values in spec.space.items()}
        setting = setting_of(spec, preset, swept)
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
        return rounded(low + int(rng.integers(last + 1)) * step, values)
    top = high + 1 if values.is_whole else high
    share = float(rng.random())
    drawn = low * (top / low) ** share if values.log else low + (top - low) * share
    return rounded(math.floor(drawn) if values.is_whole else drawn, values)


def rounded(number: float, values: KnobRange) -> int | float:
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


def problem_of(setting: Setting, validate: Validate) -> str:
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
        alone = [setting_of(spec, preset, {knob: end}) for end in ends]
        problems = {s.name: problem_of(s, validate) for s in alone}
        _refuse_problems(problems, is_skipping=spec.skip_impossible)
