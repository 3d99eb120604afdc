"""What the judge of a list answers with, one form a rubric.

A score that is none (out of range, a word, NaN) is missing; missing it is not asked again,
since a repair costs a call and the other candidates' scores stand. Only an answer of
another form altogether is repaired: no JSON object, or one with neither `verdicts` nor
`ranking`, or with something else than entries there.

`ranking` is not asked for, and so stands in no schema. Some models rank all the same, and
then it is read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from lats.draft import clean_text

__all__ = [
    "MAX_REASON_CHARS",
    "CharacterEntry",
    "CharacterVerdicts",
    "FitEntry",
    "FitVerdicts",
    "ListEntry",
    "ListVerdicts",
    "OverallEntry",
    "OverallVerdicts",
]

MAX_REASON_CHARS = 400
"""Longest reason that is kept, in characters. Longer ones are cut."""


def _score(raw: Any) -> float | None:
    """Return a score in [0, 1], or None for whatever is none: to clip would invent one."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    return float(raw) if 0 <= raw <= 1 else None  # NaN compares with nothing


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else ""


def _reason(raw: Any) -> str:
    return clean_text(_text(raw), MAX_REASON_CHARS)


def _entries(raw: Any) -> Any:
    """Return a list of objects: a map by label is one, and what is no object is an empty one.

    Entries keep their places, so that a path into the answer's text finds them again.
    """
    if isinstance(raw, Mapping):
        raw = [
            {**entry, "id": label} if isinstance(entry, Mapping) else {"id": label, "score": entry}
            for label, entry in raw.items()
        ]
    if not isinstance(raw, list | tuple):
        return raw
    return [entry if isinstance(entry, Mapping | BaseModel) else {} for entry in raw]


def _labels(raw: Any) -> Any:
    """Return the texts of a ranking; what is no text names no candidate."""
    return [_text(label) for label in raw] if isinstance(raw, list | tuple) else ()


Score = Annotated[float | None, Field(ge=0.0, le=1.0), BeforeValidator(_score)]
"""In [0, 1], or null where the judge cannot say. Anything else is read as null."""


class _Answer(BaseModel):
    """Base of the answers: frozen; fields that were not asked for are ignored."""

    model_config = ConfigDict(frozen=True)


class ListEntry(_Answer):
    """What a judge said of one candidate of a list."""

    id: Annotated[str, BeforeValidator(_text)] = ""
    """The candidate's label, as it was shown."""

    reason: Annotated[str, BeforeValidator(_reason)] = ""
    """What decides, in a few words. It stands before the scores, so that they follow from it."""

    score: Score = None
    """How good it is, all in all."""


class OverallEntry(ListEntry):
    """An entry by the rubric `overall`."""

    plan_alignment: Score = None
    persona: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None
    assistantness: Score = None
    immersion: Score = None


class CharacterEntry(ListEntry):
    """An entry by the rubric `character`."""

    persona: Score = None
    immersion: Score = None
    assistantness: Score = None


class FitEntry(ListEntry):
    """An entry by the rubric `fit`."""

    plan_alignment: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None


class ListVerdicts(_Answer):
    """Base of the answers: entries in any order, more or fewer than candidates were shown."""

    entry: ClassVar[type[ListEntry]] = ListEntry
    """The form of an entry."""

    verdicts: Annotated[tuple[ListEntry, ...], BeforeValidator(_entries)]
    """An entry a candidate."""

    ranking: SkipJsonSchema[Annotated[tuple[str, ...], BeforeValidator(_labels)]] = ()
    """Labels from best to worst, where the judge ranked."""

    @model_validator(mode="before")
    @classmethod
    def _may_only_rank(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.get("verdicts") is None and _labels(raw.get("ranking")):
            return {**raw, "verdicts": ()}
        return raw


class OverallVerdicts(ListVerdicts):
    """The answer by the rubric `overall`."""

    entry = OverallEntry
    verdicts: Annotated[tuple[OverallEntry, ...], BeforeValidator(_entries)]


class CharacterVerdicts(ListVerdicts):
    """The answer by the rubric `character`."""

    entry = CharacterEntry
    verdicts: Annotated[tuple[CharacterEntry, ...], BeforeValidator(_entries)]


class FitVerdicts(ListVerdicts):
    """The answer by the rubric `fit`."""

    entry = FitEntry
    verdicts: Annotated[tuple[FitEntry, ...], BeforeValidator(_entries)]
