"""Messages of clients: their forms, their sizes, and what is wrong with one."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from callwise.calls.errors import CallwiseError
from callwise.safe_text import is_one_line

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Acknowledge",
    "Hello",
    "Refused",
    "Say",
    "problems_of",
    "read_message",
    "read_typed",
]

MAX_MESSAGE_BYTES = 65_536
"""Longest message of a client, in bytes of JSON."""

_SHOWN_PROBLEMS = 3

_Model = TypeVar("_Model", bound=BaseModel)


class Refused(CallwiseError):
    """A client's message cannot be taken. The text is for the client."""


def _one_line(name: str) -> str:
    """Return a name without spaces around it.

    Raises:
        ValueError: when it is empty, or has line breaks or control characters.
    """
    name = name.strip()
    if not name or not is_one_line(name):
        raise ValueError("a name is one line, not empty and without control characters")
    return name


class Hello(BaseModel):
    """The first message of a client.

    Args:
        token: empty where the connection has it in its header.
        client: id of the client, to acknowledge numbers by; empty for none. One client that
            connects again has the same one, and no other has it.
        after: number of the last line that the client has, 0 for none. None is the last that
            it has acknowledged.
        newest: of what is there already, send only so many lines, the newest; None for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    token: Annotated[str, Field(max_length=1_000)] = ""
    client: Annotated[str, Field(pattern=r"^([A-Za-z0-9._+-]{1,128})?$")] = ""
    after: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    newest: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class Acknowledge(BaseModel):
    """The last number that a client has; it has all lines up to it.

    Args:
        sequence: the number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sequence: Annotated[int, Field(ge=0, lt=2**53)]


class Say(BaseModel):
    """A line of a person.

    Args:
        author: the person, in one line.
        text: the line.
        id: distinguishes it from all others, so that it may be sent again; empty for a new one.
        to: id or name of an agent that it is for; empty for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    author: Annotated[str, AfterValidator(_one_line), Field(max_length=64)]
    text: Annotated[str, Field(pattern=r"\S")]
    id: Annotated[str, Field(max_length=128)] = ""
    to: Annotated[str, Field(max_length=64)] = ""


def read_message(data: str | bytes) -> dict[str, object]:
    """Return a client's message as a JSON object.

    Raises:
        Refused: when it is too long, or is none.
    """
    size = len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "backslashreplace"))
    if size > MAX_MESSAGE_BYTES:
        raise Refused(f"the message has {size:,} bytes. Send at most {MAX_MESSAGE_BYTES:,}")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Refused("the message is no JSON object in UTF-8")
    return document


def read_typed(data: str | bytes, models: Mapping[str, type[_Model]]) -> _Model:
    """Return a client's message over the websocket.

    Args:
        models: those that are expected, by their type.

    Raises:
        Refused: when it is too long, is none, is of another type, or has other fields.
    """
    document = read_message(data)
    model = models.get(str(document.pop("type", None)))
    if model is None:
        raise Refused(f"expected a message of type {' or '.join(map(repr, models))}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Refused(problems_of(error)) from error


def problems_of(error: ValidationError) -> str:
    """Return what is wrong with a message, without what it contains."""
    lines = [
        f"{'.'.join(str(part)[:40] for part in each['loc']) or 'message'}: "
        f"{each['msg'].removeprefix('Value error, ')}"
        for each in error.errors(include_url=False, include_input=False)[:_SHOWN_PROBLEMS]
    ]
    return "; ".join(lines)
