"""A call as a JSON document, to be asked again by a later process.

Left out is what belongs to the process that asked it: its listener, its deadline, and what it
reserves or draws on in its scopes. A response model is kept by name, and found again among the
modules that are loaded: a document imports nothing.
"""

import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import BaseModel

from callwise.calls.call import Call, Message, Priority, Purpose, Role, Sampling
from callwise.calls.payload import body_bytes, document_of

__all__ = ["call_of_document", "document_of_call"]

_PLAIN = (
    "tool_choice",
    "sample",
    "share",
    "repair",
    "speculative",
    "max_repairs",
    "timeout_seconds",
    "stream",
    "note",
    "batch_key",
    "cache_ttl_seconds",
)
"""Fields that are JSON values."""

_LATER = {"model": ""}
"""Fields that documents of earlier versions lack, with their value there."""

_MESSAGE = tuple(field.name for field in fields(Message))
_SAMPLING = tuple(field.name for field in fields(Sampling))


def document_of_call(call: Call) -> bytes:
    """Return a call as JSON.

    Raises:
        TypeError: when JSON cannot express its tools, content parts or extra fields.
    """
    document: dict[str, Any] = {name: getattr(call, name) for name in (*_PLAIN, *_LATER)}
    model = call.response_model
    document |= {
        "role": call.role,
        "purpose": call.purpose,
        "messages": [[getattr(each, name) for name in _MESSAGE] for each in call.messages],
        "inputs": list(call.inputs),
        "sampling": [getattr(call.sampling, name) for name in _SAMPLING],
        "tools": list(call.tools),
        "unkeyed_body": dict(call.unkeyed_body),
        "priority": None if call.priority is None else int(call.priority),
        "response_model": None if model is None else f"{model.__module__}:{model.__qualname__}",
    }
    return body_bytes(document)


def call_of_document(data: bytes) -> Call:
    """Return the call that `document_of_call` made a document of.

    Raises:
        ValueError: when it is no such document, or its response model is not loaded.
    """
    document = document_of(data)
    try:
        given = {name: document[name] for name in _PLAIN}
        given |= {name: document.get(name, default) for name, default in _LATER.items()}
        messages = (dict(zip(_MESSAGE, each, strict=True)) for each in document["messages"])
        sampling = dict(zip(_SAMPLING, document["sampling"], strict=True))
        priority = document["priority"]
        return Call(
            role=Role(document["role"]),
            purpose=Purpose(document["purpose"]),
            messages=tuple(Message(**_with_tuples(each)) for each in messages),
            inputs=tuple(document["inputs"]),
            sampling=Sampling(**_with_tuples(sampling)),
            tools=tuple(document["tools"]),
            unkeyed_body=document["unkeyed_body"],
            priority=None if priority is None else Priority(priority),
            response_model=_loaded_model(document["response_model"]),
            **given,
        )
    except (KeyError, TypeError) as problem:
        raise ValueError(f"not a call: {problem!r}") from problem


def _with_tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}


def _loaded_model(name: str | None) -> type[BaseModel] | None:
    """Return the response model of a name; nothing is imported.

    Raises:
        ValueError: when its module is not loaded, or has no such model.
    """
    if name is None:
        return None
    module_name, _, path = name.partition(":")
    found: Any = sys.modules.get(module_name)
    for part in path.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    raise ValueError(
        f"the response model {name} is not loaded; import {module_name} before the calls are "
        "resumed"
    )
