"""JSON for the stores: quick, and able to hold any Python string.

A user's text may hold a lone surrogate, which UTF-8 and so the quick encoder refuse.
Such a document is written with escapes instead, and read back the same.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["json_bytes", "json_copy", "json_value"]


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON.

    Raises:
        TypeError: when it holds something that JSON cannot, such as a set or a key
            that is no string.
    """
    try:
        return orjson.dumps(document)
    except TypeError as error:
        if "surrogates" not in str(error):
            raise
    return json.dumps(document, ensure_ascii=True, allow_nan=False).encode()


def json_value(data: bytes) -> dict[str, Any]:
    """Return the document that `json_bytes` wrote.

    Raises:
        ValueError: when it is not a JSON object.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, got {type(document).__name__}")  # noqa: TRY004 - bad data, not a bad argument
    return document


def json_copy(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy, as it would come back from a store."""
    return json_value(json_bytes(document))
