"""What the nodes' answers are made of.

The reader of answers brings values to the types and bounds of the schema (see
`callwise.calls.structured`); here is what is the nodes' own:

- null is neutral (0) where a score is required.
- A text is stripped, and clipped to its maximum. It may be blank, since no strict schema
  can forbid that; only a reply, a goal and a bubble may not.
- Of a list of texts, blank entries and repetitions are dropped.
- Fields that were not asked for are ignored.
"""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from nodes.prompt import clip

__all__ = [
    "MAX_TEXTS",
    "MAX_TEXT_CHARS",
    "AnswerForm",
    "BubbleText",
    "FilledTexts",
    "SignedScore",
    "Text",
    "Texts",
    "UnitScore",
    "each_once",
]

MAX_TEXT_CHARS = 1200
"""Longest text taken from an answer, in characters; longer ones keep head and tail."""

MAX_TEXTS = 8
"""Most entries taken from a list of texts; the first ones are kept."""

ItemT = TypeVar("ItemT")


class AnswerForm(BaseModel):
    """Base of the answers: frozen, open to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _neutral(value: Any) -> Any:
    return 0.0 if value is None else value


def _as_text(text: str) -> str:
    return clip(text.strip(), MAX_TEXT_CHARS)


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def each_once(items: list[ItemT]) -> list[ItemT]:
    """Return a list without repetitions, in its order."""
    return list(dict.fromkeys(items))


def _as_texts(texts: list[str]) -> list[str]:
    return each_once([text for text in texts if text])


def _stripped(text: str) -> str:
    return text.strip()


# The schema names the bounds: the reader clamps to them.
UnitScore = Annotated[float, Field(ge=0.0, le=1.0), BeforeValidator(_neutral)]
"""A score in [0, 1]."""

SignedScore = Annotated[float, Field(ge=-1.0, le=1.0), BeforeValidator(_neutral)]
"""A signed score in [-1, 1]."""

Text = Annotated[str, AfterValidator(_as_text)]
"""A text that may be blank."""

Texts = Annotated[list[Text], Field(max_length=MAX_TEXTS), AfterValidator(_as_texts)]
"""Short texts in the order of the answer."""


def _asks_for_one(schema: dict[str, Any]) -> None:
    schema["minItems"] = 1
    schema["items"]["minLength"] = 1


FilledTexts = Annotated[
    list[Text],
    Field(max_length=MAX_TEXTS, json_schema_extra=_asks_for_one),
    AfterValidator(_as_texts),
]
"""Short texts, of which one is asked for. An answer with none is read all the same: small
models write blank ones, and asking again costs more than the rules that fill in."""

BubbleText = Annotated[str, Field(min_length=1), AfterValidator(_filled), AfterValidator(_stripped)]
"""A chat bubble, whole: a clipped one would lose words of the reply."""
