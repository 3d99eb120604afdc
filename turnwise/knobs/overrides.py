"""Single knobs laid over settings: a mapping by path, or `knob=value` from a command line."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel

from turnwise.calls.errors import ConfigError, FormatError
from turnwise.knobs.nearest import nearest_names
from turnwise.knobs.paths import KnobInfo, knob_paths, known_names
from turnwise.knobs.yaml_form import parse_yaml

__all__ = ["Overrides", "apply_overrides", "parse_overrides", "whole_path"]


Overrides: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Knobs by their paths, such as `{"search.max_calls": 6}`; or `knob=value` texts of a command line,
later ones last."""


def parse_overrides(overrides: Overrides) -> dict[str, Any]:
    """Return overrides as a mapping; a text's value is YAML.

    Raises:
        ConfigError: when a text has no `=`, or its value is not YAML.
    """
    if isinstance(overrides, Mapping):
        return dict(overrides)
    values: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"expected knob=value, got {override!r}")
        values.pop(name, None)  # the last one counts, and comes last
        values[name] = _value(name, text)
    return values


def apply_overrides(
    data: Mapping[str, Any], overrides: Overrides, model_cls: type[BaseModel] | None = None
) -> dict[str, Any]:
    """Return settings with overrides laid over them, later ones last.

    Args:
        data: settings as plain data. Not changed.
        overrides: knobs by their paths, or `path=value` texts.
        model_cls: the settings' model. With it the end of a path is enough where only
            one knob ends so (`rollouts`), and an unknown knob is refused with the
            nearest names. Without it paths are taken as they are.

    Raises:
        ConfigError: when an override names no knob, could mean several, or names a preset,
            which is no knob; and as `parse_overrides` does.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(data))
    for name, value in parse_overrides(overrides).items():
        path = whole_path(name, model_cls) if model_cls is not None else name
        if path == "preset":
            raise ConfigError(
                "a preset is not set as a knob, because that would run other knobs under its "
                "name: choose it with --preset, or begin a YAML file with `extends: NAME`"
            )
        _set(merged, path, copy.deepcopy(value))
    return merged


def _value(name: str, text: str) -> Any:
    try:
        return parse_yaml(text, name)
    except FormatError as error:
        raise ConfigError(f"the value of {name} is not YAML: {error.problem}") from error


def _fits(knob: KnobInfo, path: str) -> bool:
    """Return whether a path is a knob's, a group above it, or inside its plain mapping."""
    wanted, given = knob.path.split("."), path.split(".")
    is_mapping = knob.type.startswith("dict")
    return (is_mapping or len(given) <= len(wanted)) and all(
        part[0] == "<" or part == name for part, name in zip(wanted, given, strict=False)
    )


def whole_path(name: str, model_cls: type[BaseModel]) -> str:
    """Return a knob's whole name, where its end alone may be given.

    Raises:
        ConfigError: when it names no knob, or could mean several.
    """
    knobs = knob_paths(model_cls)
    paths = [knob.path for knob in knobs]
    if any(_fits(knob, name) for knob in knobs):
        return name
    candidates = sorted({path for path in paths if f".{path}".endswith(f".{name}")})
    if len(candidates) == 1 and "<" not in candidates[0]:
        return candidates[0]
    if candidates:
        meant = "could mean several knobs" if len(candidates) > 1 else "is the end of a knob's name"
        raise ConfigError(f"{name} {meant}: {', '.join(candidates)}")
    nearest = nearest_names(name, known_names(model_cls))
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    raise ConfigError(f"unknown knob {name!r}{hint} (`turnwise knobs` lists all)")


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *groups, leaf = path.split(".")
    for group in groups:
        inner = data.get(group)
        if not isinstance(inner, dict):
            # A group that was set to null, or to nonsense that this replaces.
            inner = data[group] = {}
        data = inner
    data[leaf] = value
