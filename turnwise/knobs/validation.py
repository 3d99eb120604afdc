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


def validate(model_cls: type[ModelT], data: Mapping[str, Any]) -> ModelT:
    """Return settings from plain data.

    Raises:
        ConfigError: with one line for each knob that is unknown (and the nearest
            names), out of range (and the range), or of a wrong type.
    """
    try:
        return model_cls.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = dict.fromkeys(_in_words(model_cls, problem) for problem in problems)
        raise ConfigError("\n".join(lines)) from error


def _in_words(model_cls: type[BaseModel], problem: ErrorDetails) -> str:
    location = problem["loc"]
    path = ".".join(map(str, location))
    if problem["type"] == "extra_forbidden":
        nearest = nearest_names(path, known_names(model_cls))
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        return f"unknown knob {path!r}{hint}"
    if problem["type"] == "missing":
        return f"{path} must be given"
    field = field_at(model_cls, location)
    shown = repr(problem["input"])
    if len(shown) > _MAX_SHOWN_CHARS:
        shown = shown[:_MAX_SHOWN_CHARS] + "..."
    words = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _RANGE_ERRORS:
        words = "out of range"
    elif problem["type"] in {"literal_error", "enum"}:
        words = "no such choice"
    if problem["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return f"{path}={shown}: expected a group of knobs"
    allowed = allowed_values(field) if field is not None else ""
    if not allowed:  # the key of a mapping is no field: pydantic knows its choices
        allowed = str(problem.get("ctx", {}).get("expected", ""))
    what = f"{path}={shown}" if path else shown
    return f"{what}: {words[0].lower()}{words[1:]}" + (f" (allowed: {allowed})" if allowed else "")
