r"""Request bodies as bytes and response bodies as documents, whatever text is in them.

Python strings, and JSON's `\u` escapes, can contain lone surrogates (half an emoji);
UTF-8 cannot. A lone half is replaced by U+FFFD on the way out and on the way in, and
two adjacent halves become the character they were: nothing fails over a broken
emoji, and no other file has to care.

What is stored and read again by us (`json_bytes`, `json_object`) is kept exactly: lone surrogates
are escaped there.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

__all__ = [
    "body_bytes",
    "document_of",
    "json_bytes",
    "json_object",
    "member",
    "mended",
    "well_formed",
    "well_formed_id",
    "whole_number",
    "without_template_marks",
]

_ESCAPES = {sign.encode(): rf"\u{ord(sign):04x}".encode() for sign in "<[\u25c1"}
_TEMPLATE_MARK = re.compile(
    rb"<(?=[|/!_A-Za-z]|\xef\xbd\x9c)|\[(?=/?[A-Z_]{3,}\])|\xe2\x97\x81(?=/?think)"
)
"""The first sign of `<|im_end|>`, `</s>`, `<think>`, `[INST]` and their like. In the JSON
itself no bracket precedes a capital letter."""

_WHOLE_NUMBER = re.compile(r"[0-9]{1,15}(?:\.0{1,15})?")


def well_formed(text: str) -> str:
    """Return a text that UTF-8 can encode; the same object when it already is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def well_formed_id(identifier: str) -> str:
    """Return an id that UTF-8 can encode; different ones for different ids.

    An id with half a character gets a digest of itself, or all such ids would be one. What is
    returned for an id is returned for itself, too.
    """
    whole = well_formed(identifier)
    units = identifier.encode("utf-16-le", "surrogatepass")
    if whole.encode("utf-16-le") == units:
        return whole
    return f"{whole}#{hashlib.sha256(units).hexdigest()[:16]}"


def without_template_marks(json_text: bytes) -> bytes:
    """Return a JSON document in which no text has a mark of a chat template.

    Some servers take such a mark for their own wherever it is. The first sign of
    each is escaped, so that a reader of JSON gets the texts as they are.
    """
    return _TEMPLATE_MARK.sub(lambda mark: _ESCAPES[mark[0]], json_text)


def body_bytes(body: Any) -> bytes:
    """Return a request body as UTF-8 JSON.

    Raises:
        TypeError: when it contains something that JSON cannot express.
    """
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        # Lone surrogates, or integers beyond 64 bits in a tool definition.
        return well_formed(json.dumps(body, ensure_ascii=False)).encode()


def document_of(content: bytes, *, keep_halves: bool = False) -> Any:
    """Return the JSON document that a response carries.

    Args:
        keep_halves: leave lone surrogates in its strings, because what follows may
            bring the other half.

    Raises:
        ValueError: when it is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(content)  # takes escaped lone surrogates and NaN
            return document if keep_halves else mended(document)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON, from which `json_object` returns the same one.

    An integer beyond 64 bits comes back as a float, and a float that is not finite as None, where
    no text has lone surrogates.

    Raises:
        TypeError: when a part of it cannot be JSON, for example a set or a key that is no
            string.
    """
    try:
        return orjson.dumps(document)
    except TypeError as error:
        # Lone surrogates, or integers beyond 64 bits.
        if not any(each in str(error) for each in ("surrogates", "64-bit")):
            raise
    return json.dumps(document).encode()


def json_object(data: bytes) -> dict[str, Any]:
    """Return the document that `json_bytes` wrote.

    Raises:
        ValueError: when it is not a JSON object.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError(f"not a JSON object: {data!r:.60}")  # noqa: TRY004 - bad data
    return document


def member(node: Any, name: str) -> Any:
    """Return a member of a JSON object; None where there is none, or no object."""
    return node.get(name) if isinstance(node, dict) else None


def mended(node: Any) -> Any:
    """Return a JSON document with every text in it well formed."""
    if isinstance(node, str):
        return well_formed(node)
    if isinstance(node, list):
        return [mended(item) for item in node]
    if isinstance(node, dict):
        return {well_formed(key): mended(value) for key, value in node.items()}
    return node


def whole_number(value: Any) -> int | None:
    """Return a whole number, also one written as a text of up to 15 digits; None for all else."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if not isinstance(value, float | str):
        return None
    return int(float(value)) if _WHOLE_NUMBER.fullmatch(str(value).strip()) else None
