"""A response model's JSON schema in the strict form that providers enforce, and as a text.

The strict form is a subset of JSON Schema: objects are closed, every property is
required, a `$ref` has no other key, unions are `anyOf`. Lengths of texts and uniqueness are not
part of it and are left out; in the text they stay. What cannot be expressed in it (an object
with free keys) makes the schema not strict, and the endpoint takes it as a hint.

Sources: summaries of the structured-outputs guide of the OpenAI API, section on supported
schemas, as of October 2026: types, `enum`, `const`, `anyOf`, `$defs`, `pattern`, some
`format`s, limits of numbers, `minItems`, `maxItems`; at most 5,000 properties in 10 levels,
and 120,000 characters of names and values. Anthropic's takes 0 and 1 as `minItems` only, and
llama.cpp writes a grammar rule for each item up to `maxItems`: both are kept small.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import orjson
from pydantic import BaseModel

__all__ = [
    "given_schema",
    "response_schema",
    "schema_digest",
    "schema_format",
    "schema_prompt",
]

MAX_LEVELS = 10
"""Deepest nesting of objects in a strict schema."""

MAX_PROPERTIES = 5000
"""Most properties in a strict schema, all objects together."""

_DROPPED = frozenset({"default", "title", "examples", "discriminator"})
_LENGTHS = frozenset({"minLength", "maxLength", "uniqueItems"})
_NOT_STRICT = frozenset(
    {
        "allOf",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxProperties",
        "minProperties",
        "not",
        "patternProperties",
        "prefixItems",
        "propertyNames",
        "then",
    }
)
_FORMATS = frozenset(
    "date date-time duration email hostname ipv4 ipv6 time uuid".split()  # noqa: SIM905
)
"""Formats of texts that the strict form allows."""

_NAMED_SCHEMAS = frozenset({"properties", "$defs"})
_DATA = frozenset({"const", "enum", "required"})


@lru_cache(maxsize=1024)
def response_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a response model. Computed once; do not change it.

    Docstrings of classes are left out: they are for developers, no model is to read them,
    and mending one must not change the identity of every recorded call. Descriptions of
    fields stay.
    """
    schema = model.model_json_schema()
    for named in (schema, *schema.get("$defs", {}).values()):
        named.pop("description", None)
    return schema


def schema_format(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `response_format` that asks for a response model by its schema."""
    schema = _strict_schema(model, _DROPPED | _LENGTHS)
    return {
        "type": "json_schema",
        "json_schema": {
            "name": re.sub(r"[^A-Za-z0-9_-]", "_", model.__name__)[:64],
            "strict": _is_strict(schema),
            "schema": schema,
        },
    }


def given_schema(response_format: Any) -> Mapping[str, Any] | None:
    """Return the JSON schema that a `response_format` of a request asks for, or None."""
    if not isinstance(response_format, Mapping) or response_format.get("type") != "json_schema":
        return None
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


@lru_cache(maxsize=1024)
def schema_digest(model: type[BaseModel]) -> str:
    """Return the digest of the schema that is sent for a response model, 64 hexadecimal digits.

    Of everything that a model may read of the form in any schema mode, names of classes apart:
    a class may be renamed. Parts are numbered in the order in which they are referred to.
    """
    schema = _strict_schema(model, _DROPPED)
    named = schema.pop("$defs", {})
    parts, numbers = [schema], dict[str, int]()
    for part in parts:  # which grows
        for name in _references(part):
            if name not in numbers:
                numbers[name] = len(parts)
                parts.append(named[name])
    data = orjson.dumps(_numbered(parts, numbers), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(data).hexdigest()


def _numbered(node: Any, numbers: Mapping[str, int]) -> Any:
    if isinstance(node, list):
        return [_numbered(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return {"$ref": numbers[node["$ref"].removeprefix("#/$defs/")]}
    return {key: _numbered(child, numbers) for key, child in node.items()}


def schema_prompt(form: type[BaseModel] | Mapping[str, Any]) -> str:
    """Return the instruction that asks for a response model, or a schema, in plain words."""
    schema = form if isinstance(form, Mapping) else _compact(_strict_schema(form, _DROPPED))
    return (
        "Answer with one JSON object and nothing else: no code fence, no comment. "
        f"It must be valid against this JSON schema:\n{orjson.dumps(dict(schema)).decode()}"
    )


def _strict_schema(model: type[BaseModel], dropped: frozenset[str]) -> dict[str, Any]:
    schema: dict[str, Any] = _strict_form(response_schema(model), dropped)
    reference = schema.pop("$ref", None)
    if reference is not None:
        # A model that contains itself is a reference at its root, where an object must be.
        schema |= schema["$defs"][reference.removeprefix("#/$defs/")]
    return schema


def _compact(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its parts where they are used, those that are used once."""
    named = schema.get("$defs", {})
    uses = Counter(_references(schema))
    once = {name: part for name, part in named.items() if uses[name] == 1}

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        part = once.get(str(node.get("$ref")).removeprefix("#/$defs/"))
        if part is not None:
            return inline(part)
        return {
            key: inline(child)
            for key, child in _with_type_list(node).items()
            if key != "additionalProperties" or child is not False
        }

    kept = {name: inline(part) for name, part in named.items() if name not in once}
    compact = inline({key: child for key, child in schema.items() if key != "$defs"})
    return {**compact, "$defs": kept} if kept else compact


def _with_type_list(node: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with "a number or null" as a list of types."""
    options = node.get("anyOf", ())
    if len(options) == 2 and options[1] == {"type": "null"}:
        scalar = options[0]
        if isinstance(scalar.get("type"), str) and not scalar.keys() & {"enum", "properties"}:
            return {**scalar, "type": [scalar["type"], "null"]}
    return node


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/$defs/")
        yield from _references(list(node.values()))


def _strict_form(node: Any, dropped: frozenset[str]) -> Any:
    if isinstance(node, list):
        return [_strict_form(item, dropped) for item in node]
    if not isinstance(node, dict):
        return node
    strict: dict[str, Any] = {}
    for key, child in node.items():
        if key in dropped or (key == "format" and child not in _FORMATS):
            continue
        if key in _NAMED_SCHEMAS:
            strict[key] = {name: _strict_form(value, dropped) for name, value in child.items()}
        elif key in _DATA:
            strict[key] = child
        else:
            strict["anyOf" if key == "oneOf" else key] = _strict_form(child, dropped)
    if "$ref" in strict and strict.keys() - {"$ref", "$defs"}:
        strict["anyOf"] = [{"$ref": strict.pop("$ref")}]
    if strict.get("type") == "object" and ("properties" in strict or not _is_free(strict)):
        strict.setdefault("properties", {})
        strict["additionalProperties"] = False
        strict["required"] = list(strict["properties"])
    return strict


def _is_free(node: dict[str, Any]) -> bool:
    return (
        node.get("type") == "object"
        and not node.get("properties")
        and node.get("additionalProperties", True) is not False
    )


def _is_strict(schema: dict[str, Any]) -> bool:
    nodes = list(_nodes(schema))
    levels = _levels(schema, schema.get("$defs", {}), frozenset())
    return (
        not any(_is_free(node) or node.keys() & _NOT_STRICT for node in nodes)
        and sum(len(node.get("properties", ())) for node in nodes) <= MAX_PROPERTIES
        and levels <= MAX_LEVELS
    )


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema in a schema, itself first."""
    if isinstance(node, list):
        for item in node:
            yield from _nodes(item)
    elif isinstance(node, dict):
        yield node
        for key, child in node.items():
            if key not in _DATA:
                yield from _nodes(list(child.values()) if key in _NAMED_SCHEMAS else child)


def _levels(node: Any, named: dict[str, Any], entered: frozenset[str]) -> int:
    """Return how deep objects are nested; a part inside of itself adds no level."""
    if isinstance(node, list):
        return max((_levels(item, named, entered) for item in node), default=0)
    if not isinstance(node, dict):
        return 0
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if name in named and name not in entered:
        return _levels(named[name], named, entered | {name})
    inner = [child for key, child in node.items() if key not in _DATA | _NAMED_SCHEMAS]
    inner += node.get("properties", {}).values()
    return (node.get("type") == "object") + _levels(inner, named, entered)
