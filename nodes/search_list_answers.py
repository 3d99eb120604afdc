"""What the judge of a list answers with, one form a rubric.

A score that cannot be read is missing, and missing it is not asked again, since a repair
costs a call and the other candidates' scores stand. Only an answer of another form
altogether is repaired: no JSON object, or one with neither `verdicts` nor `ranking`.

`ranking` is not asked for, and so is in no schema. Some models rank all the same, and
then it is read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, model_validator
from pydantic.json_schema import SkipJsonSchema

from lats.answers import clean_text
from nodes.answer import Answer
from nodes.search_answers import Score

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


def _reason(text: str) -> str:
    return clean_text(text, MAX_REASON_CHARS)


def _entries(raw: Any) -> Any:
    """Return a list with an empty entry for what is none.

    Entries keep their places, so that a path into the answer's text finds them again.
    """
    if not isinstance(raw, list | tuple):
        return raw
    return [entry if isinstance(entry, Mapping | BaseModel) else {} for entry in raw]


def _labels(raw: Any) -> Any:
    """Return the texts of a ranking; what is no text names no candidate."""
    labels = raw if isinstance(raw, list | tuple) else ()
    return [label if isinstance(label, str) else "" for label in labels]


def _id(raw: Any) -> Any:
    """Return an id as a text: judges also number what they read."""
    return str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw


class ListEntry(Answer):
    """What a judge said of one candidate of a list."""

    id: Annotated[str, BeforeValidator(_id)] = ""
    """The candidate's label, as it was shown."""

    reason: Annotated[str, AfterValidator(_reason)] = ""
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


class ListVerdicts(Answer):
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
