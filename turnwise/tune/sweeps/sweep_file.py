"""What a sweep tries, as its YAML file says it.

    preset: balanced                      # what all settings stand on
    set: {memory.history_turns: 4}        # the same in all of them
    knobs:                                # a grid: every combination
      search.max_calls: [3, 4, 6]
      search.policy: [listwise, auto]
    settings:                             # and these, by name
      - {name: as specified, preset: classic}

`docs/sweeps.md` has every entry. A file says nothing about cores or machines: the same file
gives the same rows on any of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.knobs.knob_paths import nearest_names
from turnwise.knobs.presets import parse_yaml
from turnwise.tune.sweeps.sweep_spec import (
    KnobRange,
    NamedSetting,
    Objective,
    SweepSpec,
    check_sweep,
)

__all__ = ["find_sweep", "read_sweep", "with_knobs"]

_SUFFIXES = (".yaml", ".yml")


def find_sweep(name_or_path: str, folder: Path) -> Path:
    """Return the file of a shipped sweep, or of any other by its path.

    Args:
        name_or_path: a name such as `search_size`, or a path (with a `/`, or ending in
            `.yaml` or `.yml`).
        folder: where the named ones are.

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
    """Return what a sweep file says. Whether its knobs exist is seen when it is planned.

    Raises:
        ConfigError: when the file cannot be opened, or what it says cannot be meant.
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
        raise FormatError(path, line, _in_words(problem, where)) from error
    return check_sweep(spec, where=f"{path}: ")


def with_knobs(spec: SweepSpec, knobs: Sequence[str]) -> SweepSpec:
    """Return a sweep with lists from a command line, such as `search.max_calls=3,4,6`.

    A knob that the sweep has already is replaced. Values are YAML.

    Raises:
        ConfigError: when one has no `=` or no value, is not YAML, or cannot be meant.
    """
    lists: dict[str, Any] = {}
    for text in knobs:
        name, equals, values = text.partition("=")
        if not equals or not name.strip() or not values.strip():
            raise ConfigError(f"expected knob=value,value, got {text!r}")
        try:
            lists[name.strip()] = parse_yaml(f"[{values}]", name)
        except FormatError as error:
            raise ConfigError(f"the values of {name} are not YAML: {error.problem}") from error
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
    """Return the line of an entry, and its path without what only the model knows."""
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


def _in_words(problem: ErrorDetails, where: str) -> str:
    if problem["type"] == "extra_forbidden":
        leaf = str(problem["loc"][-1])
        nearest = nearest_names(leaf, _entry_names(where))
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


def _entry_names(where: str) -> list[str]:
    """Return the entries that a mapping at a path may have."""
    group, dot, _ = where.partition(".")
    model = _ENTRIES.get(group, SweepSpec) if dot else SweepSpec
    return [field.alias or name for name, field in model.model_fields.items()]
