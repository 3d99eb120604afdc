"""`knob=value` from a command line, laid over settings."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.knobs.nearest import nearest_names
from turnwise.knobs.paths import knob_paths, known_names
from turnwise.knobs.yaml_form import parse_yaml

__all__ = ["apply_overrides"]


def apply_overrides(
    data: Mapping[str, Any],
    overrides: Sequence[str],
    model_cls: type[BaseModel] | None = None,
) -> dict[str, Any]:
    """Return settings with overrides laid over them, later ones last.

    Args:
        data: settings as plain data. Not changed.
        overrides: `path=value`, the value in YAML: `search.rollouts=2`,
            `budget.turn.max_usd=0.01`, `processor.llm=always`, `cache.disk=null`.
        model_cls: the settings' model. With it the end of a path is enough where only
            one knob ends so (`rollouts=2`), and an unknown knob is refused with the
            nearest names. Without it paths are taken as they stand.

    Raises:
        ConfigError: when an override has no `=`, names no knob, or could mean several;
            or when its value is not YAML.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(data))
    for override in overrides:
        name, equals, text = override.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"expected knob=value, got {override!r}")
        path = _whole_path(name, model_cls) if model_cls is not None else name
        _set(merged, path, _value(name, text))
    return merged


def _value(name: str, text: str) -> Any:
    try:
        return parse_yaml(text, name)
    except FormatError as error:
        raise ConfigError(f"the value of {name} is not YAML: {error.problem}") from error


def _fits(pattern: str, path: str) -> bool:
    """Return whether a path is a knob's path, or a group above it."""
    wanted, given = pattern.split("."), path.split(".")
    return len(given) <= len(wanted) and all(
        part[0] == "<" or part == name
        for part, name in zip(wanted[: len(given)], given, strict=True)
    )


def _whole_path(name: str, model_cls: type[BaseModel]) -> str:
    paths = [knob.path for knob in knob_paths(model_cls)]
    if any(_fits(path, name) for path in paths) or _is_inside_free_mapping(name, model_cls):
        return name
    candidates = sorted({path for path in paths if f".{path}".endswith(f".{name}")})
    if len(candidates) == 1 and "<" not in candidates[0]:
        return candidates[0]
    if candidates:
        raise ConfigError(f"{name} could mean several knobs: {', '.join(candidates)}")
    nearest = nearest_names(name, known_names(model_cls))
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    raise ConfigError(f"unknown knob {name!r}{hint} (`turnwise knobs` lists all)")


def _is_inside_free_mapping(name: str, model_cls: type[BaseModel]) -> bool:
    """Return whether a path leads into a knob that is a plain mapping, such as headers."""
    return any(
        knob.type.startswith("dict") and name.startswith(knob.path + ".")
        for knob in knob_paths(model_cls)
    )


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *groups, leaf = path.split(".")
    for group in groups:
        inner = data.get(group)
        if not isinstance(inner, dict):
            # A group that was set to null, or to nonsense that this replaces.
            inner = data[group] = {}
        data = inner
    data[leaf] = value
