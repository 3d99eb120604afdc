"""Settings from plain data, with errors that say what to write instead."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from turnwise.calls.errors import ConfigError
from turnwise.knobs.nearest import nearest_names
from turnwise.knobs.paths import allowed_values, field_at, known_names

__all__ = ["validate"]

ModelT = TypeVar("ModelT", bound=BaseModel)

_RANGE_ERRORS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_MAX_SHOWN_CHARS = 60
_MAX_SHOWN_PROBLEMS = 20


def validate(
    model_cls: type[ModelT], data: Mapping[str, Any], *, sources: Mapping[str, str] | None = None
) -> ModelT:
    """Return settings from plain data.

    Args:
        model_cls: the settings' model.
        data: the knobs.
        sources: by knobs or groups that were not given by hand, what set them; named in
            errors.

    Raises:
        ConfigError: with one line for each knob that is unknown (and the nearest
            names), out of range (and the range), or of a wrong type; of many, the first 20.
    """
    try:
        return model_cls.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = dict.fromkeys(
            _in_words(model_cls, problem) + _source(problem, sources or {})
            for problem in problems[:_MAX_SHOWN_PROBLEMS]
        )
        if len(problems) > _MAX_SHOWN_PROBLEMS:
            lines[f"and {len(problems) - _MAX_SHOWN_PROBLEMS:,} more problems"] = None
        raise ConfigError("\n".join(lines)) from error


def _source(problem: ErrorDetails, sources: Mapping[str, str]) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part != "[key]") + "."
    found = [
        source
        for knob, source in sources.items()
        if path.startswith(f"{knob}.") or f"{knob}.".startswith(path)
    ]
    return f" (set by {found[-1]})" if found else ""


def _in_words(model_cls: type[BaseModel], problem: ErrorDetails) -> str:
    # A wrong key of a mapping: its own name is the last part but this one.
    location = tuple(part for part in problem["loc"] if part != "[key]")
    path = ".".join(map(str, location))
    if problem["type"] == "extra_forbidden":
        known = known_names(model_cls)
        nearest = nearest_names(path, [*known, "extends"] if len(location) == 1 else known)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        return f"unknown knob {path!r}{hint}"
    if problem["type"] == "missing":
        return f"{path} must be given"
    words = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _RANGE_ERRORS:
        words = "out of range"
    elif problem["type"] in {"literal_error", "enum"}:
        words = "no such choice"
    if location != problem["loc"]:
        allowed = str(problem.get("ctx", {}).get("expected", ""))
        return f"{path}: {words}" + (f" (allowed: {allowed})" if allowed else "")
    field, is_shown = field_at(model_cls, location)
    shown = repr(problem["input"])
    if len(shown) > _MAX_SHOWN_CHARS:
        shown = shown[:_MAX_SHOWN_CHARS] + "..."
    what = (f"{path}={shown}" if path else shown) if is_shown else path
    if problem["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return f"{what}: expected a group of knobs"
    allowed = allowed_values(field) if field is not None else ""
    return f"{what}: {words[0].lower()}{words[1:]}" + (f" (allowed: {allowed})" if allowed else "")
