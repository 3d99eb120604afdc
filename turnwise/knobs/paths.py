"""Every knob of a settings model, by its dotted path."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["KnobInfo", "allowed_values", "field_at", "knob_paths", "known_names"]


@dataclass(frozen=True, slots=True)
class KnobInfo:
    """One knob.

    Args:
        path: its dotted path, e.g. `search.rollouts`. A part in angle brackets, as in
            `roles.<role>.max_calls`, stands for a key of your choice.
        type: what it holds, in words.
        default: its default; None also where it must be given.
        range: allowed values in words, e.g. `0 to 64`; empty when anything goes.
        doc: what it does, in one paragraph.
    """

    path: str
    type: str
    default: Any
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
        default = getattr(defaults, name, None) if defaults is not None else _default(field)
        default = None if is_absent else default
        groups = [group for group in _groups(field.annotation) if group[1] not in above]
        for key, group in groups:
            inner = default if isinstance(default, group) and not key else None
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
    """Return the models that a field holds, each with the key between, if any."""
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
    models, field, is_shown = [model_cls], None, True
    for part in location:
        owner = next((model for model in models if part in model.model_fields), None)
        if owner is not None:
            field = owner.model_fields[str(part)]
            is_shown = is_shown and not owner.model_config.get("hide_input_in_errors")
            models = [group for _, group in _groups(field.annotation)]
    return field, is_shown


def allowed_values(field: FieldInfo) -> str:
    """Return which values a field allows, in words; empty when anything of its type."""
    choices = [
        choice
        for part in _parts(field.annotation)
        for choice in (
            get_args(part)
            if get_origin(part) is Literal
            else [member.value for member in part]
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
