"""The specification of a sweep, as its YAML file has it.

    preset: balanced                      # the preset of all settings
    set: {memory.history_turns: 4}        # the same in all of them
    knobs:                                # a grid: every combination
      search.max_calls: [3, 4, 6]
      search.policy: [listwise, auto]
    settings:                             # and these, by name
      - {name: as specified, preset: classic}

`docs/sweeps.md` has every entry. A file does not name cores or machines: it gives the same rows
on any of them.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import yaml
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
    ValidationError,
)
from pydantic_core import ErrorDetails

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs.knob_paths import nearest_names
from callwise.knobs.presets import parse_yaml
from callwise.tuning.row import TurnRow

__all__ = [
    "KnobRange",
    "NamedSetting",
    "Objective",
    "ObjectiveValues",
    "SweepSpec",
    "check_sweep",
    "find_sweep",
    "flat_knobs",
    "mean_figures",
    "read_sweep",
    "sweep_digest",
    "with_knobs",
]

Number = StrictInt | StrictFloat
Name = Annotated[str, StringConstraints(min_length=1, max_length=300)]
KnobValues = Annotated[list[JsonValue], Field(min_length=1)]


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
        """Whether all its numbers are whole."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))


class NamedSetting(_Entry):
    """One setting by name."""

    name: Name
    preset: str | None = None
    """None: the sweep's own."""
    fixed: dict[str, JsonValue] = Field(default_factory=dict, alias="set")
    """Laid over the sweep's `set`."""


class Objective(_Entry):
    """The mean of a figure over turns, which an adaptive sampler minimises or maximises."""

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


RangeOrList = Annotated[
    Annotated[KnobRange, Tag("range")] | Annotated[KnobValues, Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "range"),
]


class SweepSpec(_Entry):
    """A sweep file."""

    preset: str | None = None
    """The preset of all settings; None is the recorded run's own settings."""
    fixed: dict[str, JsonValue] = Field(default_factory=dict, alias="set")
    """Knobs that are the same in all settings. Groups are merged, as in a preset."""
    sampler: Literal["grid", "random", "nsga2", "tpe"] = "grid"
    """Every combination; a random sample; or settings chosen by earlier results."""
    knobs: dict[str, KnobValues] = Field(default_factory=dict)
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
    """The objectives of `nsga2` and `tpe`."""
    min_known_share: float = Field(default=0.9, gt=0, le=1)
    """Share of turns on which an objective must be known; a trial below it counts as failed."""
    max_settings: int = Field(default=1000, ge=1)
    """A sweep of more is refused before anything runs."""
    skip_impossible: bool = False
    """Leave combinations out that cannot run, instead of refusing the sweep."""

    @property
    def space(self) -> dict[str, KnobRange | list[JsonValue]]:
        """The swept knobs in the order of the file: `knobs`, then `ranges`."""
        return {**self.knobs, **self.ranges}


def sweep_digest(spec: SweepSpec) -> str:
    """Return the SHA-256 of all entries of a sweep, in hexadecimal.

    The order of knobs is part of it, since settings are tried and named in it.
    """
    return hashlib.sha256(orjson.dumps(spec.model_dump(mode="json"))).hexdigest()


def check_sweep(spec: SweepSpec, *, where: str = "") -> SweepSpec:
    """Return a sweep whose entries fit each other.

    Args:
        where: begins the error, such as a path and a colon.

    Raises:
        ConfigError: when they do not; with what to write instead.
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
    fixed = flat_knobs(spec.fixed)
    for knob in sorted(spec.knobs.keys() & spec.ranges.keys()):
        yield f"{knob} is under `knobs` and under `ranges`: keep one of them"
    for knob in sorted(spec.space.keys() & fixed.keys()):
        yield f"{knob} is swept, and `set` fixes it at {fixed[knob]!r}: remove one of them"
    for knob, values in spec.ranges.items():
        if isinstance(values, KnobRange):
            yield from (f"ranges.{knob}: {problem}" for problem in _range_problems(values))
    figures = [objective.figure for objective in spec.objectives]
    if len(set(figures)) < len(figures):
        yield "objectives: each figure is given once"


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


ObjectiveValues = Sequence[float] | str
"""One value per objective, or the reason why they are not known."""


def mean_figures(
    objectives: Sequence[Objective], min_known_share: float
) -> Callable[[Sequence[TurnRow]], ObjectiveValues]:
    """Return a function from a setting's rows to its objectives.

    Args:
        min_known_share: least share of turns on which it is known, in (0, 1]. Below it the
            mean is of other turns than those of other settings and cannot be compared.
    """

    def values_of(rows: Sequence[TurnRow]) -> ObjectiveValues:
        if not rows:
            return "it has no turns"
        means: list[float] = []
        for objective in objectives:
            known = [
                float(figure)
                for figure in (getattr(row, objective.figure) for row in rows)
                if figure is not None
            ]
            if not known or len(known) < min_known_share * len(rows):
                return f"{objective.figure} is known on {len(known)} of {len(rows)} turns"
            means.append(math.fsum(known) / len(known))
        return tuple(means)

    return values_of


_SUFFIXES = (".yaml", ".yml")


def find_sweep(name_or_path: str, folder: Path) -> Path:
    """Return the file of a shipped sweep, or of any other by its path.

    Args:
        name_or_path: a name such as `search_size`, or a path (with a `/`, or ending in
            `.yaml` or `.yml`).

    Raises:
        ConfigError: when there is none; names the nearest.
    """
    if name_or_path.endswith(_SUFFIXES) or "/" in name_or_path:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise ConfigError(f"there is no sweep file {path}")
        return path
    known = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix in _SUFFIXES}
    if name_or_path in known:
        return known[name_or_path]
    nearest = nearest_names(name_or_path, known)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    listed = ", ".join(known) or f"none in {folder}"
    raise ConfigError(f"unknown sweep {name_or_path!r}{hint} (sweeps: {listed})")


def read_sweep(path: Path) -> SweepSpec:
    """Return the specification in a sweep file; `plan_settings` checks that its knobs exist.

    Raises:
        ConfigError: when the file cannot be opened, or its entries contradict each other.
        FormatError: when it is not a sweep file; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, None, f"expected UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from error
    document = parse_yaml(text, path)
    if not isinstance(document, dict):
        raise FormatError(path, 1, "expected a sweep, such as `knobs: {search.max_calls: [3, 6]}`")
    try:
        spec = SweepSpec.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        line, where = _place_of(problem["loc"], text)
        raise FormatError(path, line, _message(problem, where)) from error
    return check_sweep(spec, where=f"{path}: ")


def with_knobs(spec: SweepSpec, knobs: Sequence[str]) -> SweepSpec:
    """Return a sweep with lists from a command line, such as `search.max_calls=3,4,6`.

    A knob that the sweep has already is replaced; one that is given several times has the
    values of all. Values are YAML.

    Raises:
        ConfigError: when one has no `=` or no value, is not YAML, or contradicts the sweep.
    """
    lists: dict[str, Any] = {}
    for text in knobs:
        name, equals, values = text.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise ConfigError(f"expected knob=value,value, got {text!r}")
        try:
            given = parse_yaml(f"[{values}]", name)
        except FormatError as error:
            raise ConfigError(f"the values of {name} are not YAML: {error.problem}") from error
        known = lists.setdefault(name.strip(), [])
        known += given
    return check_sweep(
        spec.model_copy(
            update={
                "knobs": {**spec.knobs, **lists},
                "ranges": {k: v for k, v in spec.ranges.items() if k not in lists},
                "fixed": {k: v for k, v in spec.fixed.items() if k not in lists},
            }
        )
    )


def _place_of(location: tuple[str | int, ...], text: str) -> tuple[int | None, str]:
    """Return the line of an entry, and its path without pydantic's own parts."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    line: int | None = None
    parts: list[str] = []
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, inner) for key, inner in node.value if key.value == part]
            if found:
                line, node = found[0][0].start_mark.line + 1, found[0][1]
                parts.append(str(part))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
            parts.append(str(part))
    return line, ".".join(parts)


def _message(problem: ErrorDetails, where: str) -> str:
    if problem["type"] == "extra_forbidden":
        leaf = str(problem["loc"][-1])
        group, dot, _ = where.partition(".")
        model = _ENTRIES.get(group, SweepSpec) if dot else SweepSpec
        entries = [field.alias or name for name, field in model.model_fields.items()]
        nearest = nearest_names(leaf, entries)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        return f"unknown entry {where!r}{hint}"
    if problem["type"] == "missing":
        return f"{where} needs {problem['loc'][-1]!r}"
    words = problem["msg"]
    return f"{where}: {words[0].lower()}{words[1:]}"


_ENTRIES: Mapping[str, type[BaseModel]] = {
    "ranges": KnobRange,
    "settings": NamedSetting,
    "objectives": Objective,
}
