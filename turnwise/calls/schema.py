"""A response model's JSON schema in the strict form that providers enforce, and in words.

The strict form is a subset of JSON Schema: objects are closed, every property is
required, a `$ref` stands alone, unions are `anyOf`. What cannot be said in it (an
object with free keys) makes the schema not strict, and the endpoint takes it as advice.

Source: the structured-outputs guide of the OpenAI API, section on supported schemas.
"""

import re
from typing import Any

import orjson
from pydantic import BaseModel

from turnwise.calls.key import response_schema

__all__ = ["schema_format", "schema_in_words"]

_DROPPED = frozenset({"default", "title", "examples", "discriminator"})
_NAMED_SCHEMAS = frozenset({"properties", "$defs"})
_DATA = frozenset({"const", "enum", "required"})


def schema_format(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `response_format` that asks for a response model by its schema."""
    schema = _strict_schema(model)
    return {
        "type": "json_schema",
        "json_schema": {
            "name": re.sub(r"[^A-Za-z0-9_-]", "_", model.__name__)[:64],
            "strict": not _has_free_object(schema),
            "schema": schema,
        },
    }


def schema_in_words(model: type[BaseModel]) -> str:
    """Return the instruction that asks for a response model in plain words."""
    schema = orjson.dumps(_strict_schema(model)).decode()
    return (
        "Answer with one JSON object and nothing else: no code fence, no comment. "
        f"It must be valid against this JSON schema:\n{schema}"
    )


def _strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    schema: dict[str, Any] = _strict_form(response_schema(model))
    reference = schema.pop("$ref", None)
    if reference is not None:
        # A model that contains itself is a reference at its root, where an object must stand.
        schema |= schema["$defs"][reference.removeprefix("#/$defs/")]
    return schema


def _strict_form(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict_form(item) for item in node]
    if not isinstance(node, dict):
        return node
    strict: dict[str, Any] = {}
    for key, child in node.items():
        if key in _DROPPED:
            continue
        if key in _NAMED_SCHEMAS:
            strict[key] = {name: _strict_form(value) for name, value in child.items()}
        elif key in _DATA:
            strict[key] = child
        else:
            strict["anyOf" if key == "oneOf" else key] = _strict_form(child)
    if "$ref" in strict and strict.keys() - {"$ref", "$defs"}:
        strict["anyOf"] = [{"$ref": strict.pop("$ref")}]
    if strict.get("type") == "object" and ("properties" in strict or not _is_free(strict)):
        strict.setdefault("properties", {})
        strict["additionalProperties"] = False
        strict["required"] = list(strict["properties"])
    return strict


def _is_free(node: dict[str, Any]) -> bool:
    """Whether an object schema leaves its keys open."""
    return (
        node.get("type") == "object"
        and not node.get("properties")
        and node.get("additionalProperties", True) is not False
    )


def _has_free_object(node: Any) -> bool:
    if isinstance(node, list):
        return any(_has_free_object(item) for item in node)
    if not isinstance(node, dict):
        return False
    if _is_free(node):
        return True
    return any(
        any(_has_free_object(value) for value in child.values())
        if key in _NAMED_SCHEMAS
        else _has_free_object(child)
        for key, child in node.items()
        if key not in _DATA
    )
