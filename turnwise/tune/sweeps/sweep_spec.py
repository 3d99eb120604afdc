"""What a sweep says: which knobs it tries, how it chooses, and what may not be meant."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictFloat,
    StrictInt,
    StringConstraints,
    Tag,
)

from turnwise.calls.errors import ConfigError

__all__ = [
    "KnobRange",
    "NamedSetting",
    "Objective",
    "SweepSpec",
    "check_sweep",
    "flat_knobs",
    "sweep_digest",
]

Number = StrictInt | StrictFloat
Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Values = Annotated[list[JsonValue], Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class KnobRange(_Entry):
    """Numbers from `low` to `high`, both included; whole numbers where all three are whole."""

    low: Number
    high: Number
    step: Annotated[Number, Field(gt=0)] | None = None
    """Distance between values, counted from `low`. None: any number, or every whole one."""
    log: bool = False
    """Whether a factor counts as much as the same factor elsewhere. Not with `step`."""

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))


class NamedSetting(_Entry):
    """One setting by name."""

    name: Name
    preset: str | None = None
    """None: the sweep's own."""
    fixed: dict[str, JsonValue] = Field(default_factory=dict, alias="set")
    """Laid over the sweep's `set`."""


class Objective(_Entry):
    """What an adaptive sampler makes small or large: the mean of a figure over turns."""

    figure: Literal[
        "asked",
        "requests",
        "input_tokens",
        "output_tokens",
        "usd",
        "rounds_reply",
        "rounds_turn",
        "seconds_reply",
        "seconds_turn",
        "quality",
    ]
    goal: Literal["min", "max"]


def _form_of_values(value: Any) -> str:
    return "list" if isinstance(value, list) else "range"


RangeOrList = Annotated[
    Annotated[KnobRange, Tag("range")] | Annotated[Values, Tag("list")],
    Discriminator(_form_of_values),
]


class SweepSpec(_Entry):
    """A sweep file."""

    preset: str | None = None
    """What all settings stand on; None is what the recording was made with."""
    fixed: dict[str, JsonValue] = Field(default_factory=dict, alias="set")
    """Knobs that are the same in all settings. Groups are merged, as in a preset."""
    sampler: Literal["grid", "random", "nsga2", "tpe"] = "grid"
    """Every combination; some by lot; or those that promise most after what was seen."""
    knobs: dict[str, Values] = Field(default_factory=dict)
    """Values by dotted knob. `preset` sweeps the preset itself."""
    ranges: dict[str, RangeOrList] = Field(default_factory=dict)
    """Ranges and lists by dotted knob, for every sampler but `grid`."""
    settings: list[NamedSetting] = Field(default_factory=list)
    """Settings by name, tried before all others."""
    trials: int = Field(default=40, ge=1)
    """Settings that a sampler other than `grid` draws."""
    batch: int = Field(default=8, ge=2)
    """Settings that an adaptive sampler chooses before it sees what they gave; with `nsga2`
    also a generation. It, and not the number of workers, decides what is chosen."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    objectives: list[Objective] = Field(
        default_factory=lambda: [
            Objective(figure="asked", goal="min"),
            Objective(figure="quality", goal="max"),
        ],
        min_length=1,
    )
    """What `nsga2` and `tpe` look at."""
    min_known_share: float = Field(default=0.9, gt=0, le=1)
    """Share of turns on which an objective must be known; a trial below it counts as failed."""
    max_settings: int = Field(default=1000, ge=1)
    """A sweep of more is refused before anything runs."""
    skip_impossible: bool = False
    """Leave combinations out that cannot run, instead of refusing the sweep."""

    @property
    def space(self) -> dict[str, KnobRange | list[JsonValue]]:
        """What is swept, in the order of the file: `knobs`, then `ranges`."""
        return {**self.knobs, **self.ranges}


def sweep_digest(spec: SweepSpec) -> str:
    """Return the SHA-256 of everything that a sweep says, in hexadecimal.

    The order of knobs is part of it, since settings are tried and named in it.
    """
    return hashlib.sha256(orjson.dumps(spec.model_dump(mode="json"))).hexdigest()


def check_sweep(spec: SweepSpec, *, where: str = "") -> SweepSpec:
    """Return a sweep whose entries fit each other.

    Args:
        spec: the sweep.
        where: begins the error, such as a path and a colon.

    Raises:
        ConfigError: when they do not; says what to write instead.
    """
    for problem in _contradictions(spec):
        raise ConfigError(where + problem)
    return spec


def _contradictions(spec: SweepSpec) -> Iterator[str]:
    if not spec.space and not spec.settings:
        yield "a sweep needs `knobs` or `settings`; it would try nothing"
    if spec.sampler == "grid":
        for knob in spec.ranges:
            yield f"a grid takes lists: write {knob} under `knobs`, or choose `sampler: random`"
    elif not spec.space:
        yield f"`sampler: {spec.sampler}` has nothing to draw from: give `knobs` or `ranges`"
    yield from _knobs_given_twice(spec)
    for knob, values in spec.ranges.items():
        if isinstance(values, KnobRange):
            yield from (f"ranges.{knob}: {problem}" for problem in _range_problems(values))
    figures = [objective.figure for objective in spec.objectives]
    if len(set(figures)) < len(figures):
        yield "objectives: each figure is given once"


def _knobs_given_twice(spec: SweepSpec) -> Iterator[str]:
    fixed = flat_knobs(spec.fixed)
    for knob in spec.space:
        if knob in spec.knobs and knob in spec.ranges:
            yield f"{knob} stands under `knobs` and under `ranges`"
        if knob in fixed:
            yield f"{knob} is swept, and `set` holds it at {fixed[knob]!r}"


def _range_problems(values: KnobRange) -> Iterator[str]:
    if not all(map(math.isfinite, (values.low, values.high))):
        yield "expected finite numbers"
    if values.low > values.high:
        yield f"low is {values.low}, above high, which is {values.high}"
    if values.log and values.low <= 0:
        yield f"log needs low above 0, got {values.low}"
    if values.log and values.step is not None:
        yield "log and step do not go together"


def flat_knobs(knobs: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return knobs by dotted path, groups unfolded, so that they merge as in a preset."""
    flat: dict[str, JsonValue] = {}
    for name, value in knobs.items():
        if isinstance(value, dict) and value:
            flat.update({f"{name}.{inner}": deep for inner, deep in flat_knobs(value).items()})
        else:
            flat[name] = value
    return flat
