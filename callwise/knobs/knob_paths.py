"""Every knob of a settings model, by its dotted path."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from callwise.calls.errors import ConfigError

__all__ = [
    "KnobInfo",
    "allowed_values",
    "field_at",
    "knob_paths",
    "known_names",
    "nearest_names",
    "unknown_knob",
    "validate",
]

_LEAST_LIKENESS = 0.6


def nearest_names(wanted: str, known: Iterable[str], *, max_names: int = 3) -> list[str]:
    """Return the known names most like a wanted one, best first.

    Dotted names are compared whole and by their last part; the better counts.

    Args:
        max_names: at most how many; at least 0.
    """
    leaf = wanted.rpartition(".")[2]
    likeness = {
        name: max(_likeness(wanted, name), _likeness(leaf, name.rpartition(".")[2]))
        for name in known
    }
    # Of equally likely leaves, the one whose group fits is the better guess.
    order = sorted(likeness, key=lambda name: (-likeness[name], -_likeness(wanted, name), name))
    return [name for name in order if likeness[name] >= _LEAST_LIKENESS][:max_names]


def _likeness(first: str, second: str) -> float:
    return SequenceMatcher(None, first.lower(), second.lower(), autojunk=False).ratio()


@dataclass(frozen=True, slots=True)
class KnobInfo:
    """One knob.

    Args:
        path: its dotted path, e.g. `search.rollouts`. A part in angle brackets, as in
            `roles.<role>.max_calls`, is a key of your choice.
        type: type of its value, as text.
        default: its default; None also where it must be given, and in a group that is left out.
        default_once_set: its default once a knob of its group is set; another one than `default`
            only where the group is left out by default.
        range: allowed values, e.g. `0 to 64`; empty for any.
        doc: what it does, in one paragraph.
    """

    path: str
    type: str
    default: Any
    default_once_set: Any
    range: str
    doc: str


def knob_paths(model_cls: type[BaseModel]) -> list[KnobInfo]:
    """Return every knob of a settings model, in order of declaration, groups unfolded."""
    return list(_knobs(model_cls))


def known_names(model_cls: type[BaseModel]) -> list[str]:
    """Return the paths of all knobs and of the groups above them."""
    names: dict[str, None] = {}
    for knob in _knobs(model_cls):
        parts = knob.path.split(".")
        names.update((".".join(parts[:end]), None) for end in range(1, len(parts) + 1))
    return list(names)


@lru_cache(maxsize=64)
def _knobs(model_cls: type[BaseModel]) -> tuple[KnobInfo, ...]:
    return tuple(_walk(model_cls, "", None, ()))


def _walk(
    model_cls: type[BaseModel],
    prefix: str,
    defaults: BaseModel | None,
    above: tuple[type[BaseModel], ...],
    *,
    is_absent: bool = False,
) -> Iterator[KnobInfo]:
    """Yield the knobs of a group; one that is absent as a whole has no defaults."""
    docs = _docs(model_cls)
    for name, field in model_cls.model_fields.items():
        path = prefix + name
        once_set = getattr(defaults, name, None) if defaults is not None else _default(field)
        default = None if is_absent else once_set
        groups = [group for group in _groups(field.annotation) if group[1] not in above]
        for key, group in groups:
            inner = once_set if isinstance(once_set, group) and not key else None
            yield from _walk(
                group,
                f"{path}.{key}",
                inner,
                (*above, model_cls),
                is_absent=is_absent or (default is None and not key),
            )
        if not groups:
            yield KnobInfo(
                path=path,
                type=_type_words(field.annotation),
                default=default,
                default_once_set=once_set,
                range=allowed_values(field),
                doc=" ".join((field.description or docs.get(name, "")).split()),
            )


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, aliases and annotations taken off."""
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _groups(annotation: Any) -> list[tuple[str, type[BaseModel]]]:
    """Return the models that a field contains, each with the key between, if any."""
    groups: list[tuple[str, type[BaseModel]]] = []
    for part in _parts(annotation):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            groups.append(("", part))
        elif get_origin(part) in (dict, Mapping):
            key_type, value_type = get_args(part)
            key = f"<{_key_name(key_type)}>."
            groups += [(key + inner, group) for inner, group in _groups(value_type)]
    return groups


def _key_name(key_type: Any) -> str:
    """Return what a mapping's keys are called: their title, where they have one, or type."""
    titles = (getattr(item, "title", None) for item in getattr(key_type, "__metadata__", ()))
    return next(filter(None, titles), getattr(key_type, "__name__", "key")).lower()


def field_at(
    model_cls: type[BaseModel], location: tuple[str | int, ...]
) -> tuple[FieldInfo | None, bool]:
    """Return the field at a location that pydantic names, and whether its value may be shown.

    Parts that are no field (a key of a mapping, the tag of a union) are stepped over; None
    where there is no field. A model with `hide_input_in_errors` shows none of its values.
    """
    models, field, is_shown, is_key = [model_cls], None, True, False
    for part in location:
        if is_key:  # of a mapping: it may be called like a field
            is_key = False
            continue
        owner = next((model for model in models if part in model.model_fields), None)
        if owner is not None:
            field = owner.model_fields[str(part)]
            is_shown = is_shown and not owner.model_config.get("hide_input_in_errors")
            models = [
                each
                for each in _innermost(field.annotation)
                if inspect.isclass(each) and issubclass(each, BaseModel)
            ]
            is_key = any(get_origin(each) in (dict, Mapping) for each in _parts(field.annotation))
    return field, is_shown


def _written(member: Enum) -> str:
    """Return a member of an enumeration as files have it: its word, or the name of a number."""
    return member.value if isinstance(member.value, str) else member.name.lower()


def allowed_values(field: FieldInfo) -> str:
    """Return the values that a field allows as text, such as `0 to 64`; empty for any."""
    choices = [
        choice
        for part in _parts(field.annotation)
        for choice in (
            get_args(part)
            if get_origin(part) is Literal
            else [_written(member) for member in part]
            if inspect.isclass(part) and issubclass(part, Enum)
            else ()
        )
    ]
    if choices:
        return "one of " + ", ".join(map(str, choices))
    constraints = [*field.metadata, *_nested_metadata(field.annotation)]
    lows = [f"{c.ge}" for c in constraints if isinstance(c, Ge)]
    lows += [f"more than {c.gt}" for c in constraints if isinstance(c, Gt)]
    highs = [f"{c.le}" for c in constraints if isinstance(c, Le)]
    highs += [f"less than {c.lt}" for c in constraints if isinstance(c, Lt)]
    if lows and highs:
        return f"{lows[0]} to {highs[0]}"
    lengths = [f"at least {c.min_length} long" for c in constraints if isinstance(c, MinLen)]
    lengths += [f"at most {c.max_length} long" for c in constraints if isinstance(c, MaxLen)]
    words = [low if low.startswith("more") else f"at least {low}" for low in lows]
    words += [high if high.startswith("less") else f"at most {high}" for high in highs]
    return ", ".join(words + lengths)


def _nested_metadata(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return [*_flat(metadata), *_nested_metadata(inner)]
    if get_origin(annotation) in (Union, UnionType):
        return [item for part in get_args(annotation) for item in _nested_metadata(part)]
    return []


def _flat(metadata: list[Any]) -> list[Any]:
    return [part for item in metadata for part in getattr(item, "metadata", [item])]


def _type_words(annotation: Any) -> str:
    words = []
    for part in _parts(annotation):
        if part is NoneType:
            words.append("none")
        elif get_origin(part) is Literal:
            words.append("choice")
        elif get_origin(part) is not None:
            words.append(str(part).replace("typing.", ""))
        else:
            words.append(getattr(part, "__name__", str(part)))
    return " | ".join(dict.fromkeys(words))


@lru_cache(maxsize=256)
def _docs(model_cls: type[BaseModel]) -> dict[str, str]:
    """Return the text under each field, base classes' included.

    Read from the source, since Python does not keep it. Empty where the source is
    not at hand, as in a frozen program.
    """
    docs: dict[str, str] = {}
    for base in reversed(model_cls.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, below in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = below.value if isinstance(below, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    docs[field.target.id] = text.value
    return docs


ModelT = TypeVar("ModelT", bound=BaseModel)

_RANGE_ERRORS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
_MAX_SHOWN_CHARS = 60
_MAX_SHOWN_PROBLEMS = 20


def validate(
    model_cls: type[ModelT], data: Mapping[str, Any], *, sources: Mapping[str, str] | None = None
) -> ModelT:
    """Return settings from plain data.

    Args:
        sources: by knobs or groups that were not given by hand, what set them; named in
            errors.

    Raises:
        ConfigError: with one line for each knob that is unknown (and the nearest
            names), out of range (and the range), or of a wrong type; of many, the first 20.
    """
    cause: ValidationError | None = None
    problems = list(_bools_for_numbers(model_cls, data))
    try:
        settings = model_cls.model_validate(data)
    except ValidationError as error:
        problems += _of_data(error.errors(include_url=False), data)
        cause = error
    if not problems:
        return settings
    lines = dict.fromkeys(
        _message_of(model_cls, problem) + _source(problem, sources or {})
        for problem in problems[:_MAX_SHOWN_PROBLEMS]
    )
    if len(problems) > _MAX_SHOWN_PROBLEMS:
        lines[f"and {len(problems) - _MAX_SHOWN_PROBLEMS:,} more problems"] = None
    raise ConfigError("\n".join(lines)) from cause


def _of_data(problems: Sequence[ErrorDetails], data: Mapping[str, Any]) -> Iterator[ErrorDetails]:
    """Yield problems at the locations that the data has, without the tags of unions.

    Too few items are left out where one of them is a problem itself: the others are counted.
    """
    for problem in problems:
        loc = problem["loc"]
        if problem["type"] == "too_short" and any(
            len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in problems
        ):
            continue
        value: Any = data
        kept: list[int | str] = []
        for place, part in enumerate(loc):
            is_key = isinstance(value, Mapping) and part in value
            is_item = isinstance(value, list | tuple) and isinstance(part, int)
            is_last = place == len(loc) - 1
            if is_key or is_item:
                value = value[part]
            elif not (part == "[key]" or (is_last and problem["type"] == "missing")):
                continue
            kept.append(part)
        yield {**problem, "loc": tuple(kept)}


def _bools_for_numbers(
    model_cls: type[BaseModel], value: Any, location: tuple[str | int, ...] = ()
) -> Iterator[ErrorDetails]:
    """Yield a problem for each true and false of a knob that is a number.

    Pydantic takes them for 1 and 0, and so would run a setting that was not meant.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _bools_for_numbers(model_cls, inner, (*location, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _bools_for_numbers(model_cls, inner, (*location, place))
    elif isinstance(value, bool):
        field, _ = field_at(model_cls, location)
        kinds = set() if field is None else set(_innermost(field.annotation))
        if kinds & {int, float} and bool not in kinds:
            yield ErrorDetails(
                type="bool_for_number",
                loc=location,
                msg="expected a number, not true or false",
                input=value,
            )


def _innermost(annotation: Any) -> Iterator[Any]:
    """Yield the types that values have inside of unions, lists and mappings."""
    for part in _parts(annotation):
        inner = () if get_origin(part) in (None, Literal) else get_args(part)
        if inner:
            for each in inner:
                yield from _innermost(each)
        else:
            yield part


def _source(problem: ErrorDetails, sources: Mapping[str, str]) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part != "[key]") + "."
    found = [
        source
        for knob, source in sources.items()
        if path.startswith(f"{knob}.") or f"{knob}.".startswith(path)
    ]
    return f" (set by {found[-1]})" if found else ""


def unknown_knob(name: str, model_cls: type[BaseModel], more: Sequence[str] = ()) -> str:
    """Return the refusal of a knob that does not exist, with its replacement or the nearest names.

    Args:
        model_cls: its `cut_knobs`, where it has any, maps knobs of earlier versions to what
            replaces them.
        more: further names that may be meant.
    """
    cut: Mapping[str, str] = getattr(model_cls, "cut_knobs", {})
    for path, replacement in cut.items():
        if f".{path}".endswith(f".{name}"):
            return f"the knob {path!r} was removed: {replacement}"
    nearest = nearest_names(name, [*known_names(model_cls), *more])
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return f"unknown knob {name!r}{hint}"


def _message_of(model_cls: type[BaseModel], problem: ErrorDetails) -> str:
    # A wrong key of a mapping: its own name is the last part but this one.
    location = tuple(part for part in problem["loc"] if part != "[key]")
    path = ".".join(map(str, location))
    if problem["type"] == "extra_forbidden":
        return unknown_knob(path, model_cls, ["extends"] if len(location) == 1 else [])
    if problem["type"] == "missing":
        return f"{path} must be given"
    words = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _RANGE_ERRORS:
        words = "out of range"
    elif problem["type"] in {"literal_error", "enum"}:
        words = "no such choice"
    allowed = str(problem.get("ctx", {}).get("expected", ""))
    if location != problem["loc"]:
        return f"{path}: {words}" + (f" (allowed: {allowed})" if allowed else "")
    field, is_shown = field_at(model_cls, location)
    shown = repr(problem["input"])
    if len(shown) > _MAX_SHOWN_CHARS:
        shown = shown[:_MAX_SHOWN_CHARS] + "..."
    if not path and problem["type"] == "value_error":
        return words  # names the knobs itself
    what = (f"{path}={shown}" if path else shown) if is_shown else path
    if problem["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return f"{what}: expected a group of knobs"
    of_field = allowed_values(field) if field is not None else ""
    if of_field or words != "no such choice":
        allowed = of_field
    return f"{what}: {words[0].lower()}{words[1:]}" + (f" (allowed: {allowed})" if allowed else "")
