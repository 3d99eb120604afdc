"""What the nodes' answers are made of: fields that forgive what models usually get wrong.

- A score outside its range is clamped to it; null is neutral (0); "0.7" is 0.7. A word
  such as "high" is an error, and the answer is asked again.
- A text is stripped, and clipped to its maximum; null is blank; a lone surrogate
  becomes U+FFFD.
- A list of texts may come as one text; blank entries and repetitions are dropped.
- Names that are not in a closed set are dropped.
- Fields that were not asked for are ignored.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nodes.prompt import clip
from turnwise.calls.payload import well_formed

__all__ = [
    "MAX_TEXTS",
    "MAX_TEXT_CHARS",
    "Answer",
    "SignedScore",
    "Text",
    "Texts",
    "Thought",
    "UnitScore",
    "known_member",
    "known_members",
]

MAX_TEXT_CHARS = 1200
"""Longest text taken from an answer, in characters; longer ones keep head and tail."""

MAX_TEXTS = 8
"""Most entries taken from a list of texts; the first ones are kept."""

MemberT = TypeVar("MemberT", bound=StrEnum)


def _without_description(schema: dict[str, Any]) -> None:
    schema.pop("description", None)


class Answer(BaseModel):
    """Base of the answers: frozen, open to unknown fields.

    Its docstring stays out of the schema: the prompt explains the fields, and mending
    a docstring must not change the identity of every recorded call.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra=_without_description)


def _clamped(low: float, high: float) -> BeforeValidator:
    def clamp(value: Any) -> Any:
        if value is None:
            return 0.0
        if isinstance(value, str):
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return min(max(value, low), high)
        return value

    return BeforeValidator(clamp)


def _as_text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return clip(well_formed(value).strip(), MAX_TEXT_CHARS)
    return value


def _as_texts(value: Any) -> Any:
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    kept: list[Any] = []
    for text in map(_as_text, value):
        if text != "" and text not in kept:
            kept.append(text)  # one that is no text stays, for validation to name it
        if len(kept) == MAX_TEXTS:
            break
    return kept


def _not_blank(text: str) -> str:
    if not text:
        raise ValueError("must not be blank")
    return text


# The bounds stand before the clamp: in the other order the schema would not name them.
UnitScore = Annotated[float, Field(ge=0.0, le=1.0), _clamped(0.0, 1.0)]
"""A score in [0, 1], clamped."""

SignedScore = Annotated[float, Field(ge=-1.0, le=1.0), _clamped(-1.0, 1.0)]
"""A signed score in [-1, 1], clamped."""

Text = Annotated[str, BeforeValidator(_as_text)]
"""A text that may be blank."""

Thought = Annotated[str, BeforeValidator(_as_text), AfterValidator(_not_blank)]
"""A text that must say something: a blank one is asked again."""

Texts = Annotated[list[str], BeforeValidator(_as_texts)]
"""Short texts in the order of the answer."""


def _name(value: Any) -> str:
    """Return a name as the closed sets spell it: "Self disclosure" is `self_disclosure`."""
    return re.sub(r"[\s\-]+", "_", str(value).strip().lower())


def known_member(value: Any, members: type[MemberT]) -> MemberT | None:
    """Return the member that a value names, or None when it names none."""
    name = _name(value)
    return members(name) if name in set(members) else None


def known_members(value: Any, members: type[MemberT]) -> list[MemberT]:
    """Return the members that a list of values names, each once, in order.

    A single value counts as a list of one. What is not known is left out.
    """
    values: Sequence[Any] = value if isinstance(value, list | tuple) else (value,)
    found = (known_member(item, members) for item in values)
    return list(dict.fromkeys(member for member in found if member is not None))
