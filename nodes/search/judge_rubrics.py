"""Rubrics of the judge of a list by name: instructions, and the form of an answer.

Several attributes are scored in one pass. Passes that alternate between rubrics have different
biases rather than the same one again; so each rubric has its own instructions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from callwise.calls.errors import ConfigError
from lats.search_knobs import SearchKnobs
from nodes.prompt import words
from nodes.records import Language
from nodes.search.action_answers import (
    CharacterVerdicts,
    FitVerdicts,
    ListEntry,
    ListVerdicts,
    OverallVerdicts,
)

__all__ = ["RUBRICS", "JudgeRubric", "check_judging", "rubric_called"]


@dataclass(frozen=True, slots=True)
class JudgeRubric:
    """One way to judge candidates; its texts are in `words/rubrics.yaml`.

    Args:
        name: as `search.rubrics` has it.
        answer: the form of the answer; its entries' fields are the sub-scores asked for.
    """

    name: str
    answer: type[ListVerdicts]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the sub-scores, in the order in which they are asked for."""
        asked = self.answer.entry.model_fields
        return tuple(name for name in asked if name not in ListEntry.model_fields)

    def text(self, language: Language) -> str:
        """Return the instructions of this rubric."""
        space, stop = ("", "。") if language == "zh" else (" ", ".")
        emphasis = words("rubrics")["emphasis"][language][self.name]
        return f"{emphasis}{space}{self.sub_scores(language)}{stop}"

    def sub_scores(self, language: Language) -> str:
        """Return the sub-scores that are asked for, and the meaning of each."""
        opening, closing, joint = ("（", "）", "、") if language == "zh" else (" (", ")", ", ")
        meanings = words("rubrics")["meanings"][language]
        return joint.join(f"{name}{opening}{meanings[name]}{closing}" for name in self.attributes)


RUBRICS: Mapping[str, JudgeRubric] = MappingProxyType(
    {
        "overall": JudgeRubric("overall", OverallVerdicts),
        "character": JudgeRubric("character", CharacterVerdicts),
        "fit": JudgeRubric("fit", FitVerdicts),
    }
)
"""All rubrics by name. `overall` asks for every attribute."""


def rubric_called(name: str) -> JudgeRubric:
    """Return a rubric.

    Raises:
        ConfigError: when there is none of this name.
    """
    if name not in RUBRICS:
        raise ConfigError(
            f"search.rubrics: there is no rubric {name!r}; there are {_named(RUBRICS)}"
        )
    return RUBRICS[name]


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def check_judging(knobs: SearchKnobs) -> None:
    """Refuse knobs that a judge of replies cannot follow.

    Raises:
        ConfigError: for an unknown rubric, for weights of which a rubric asks for none, and for
            judging by agreement, which needs answers that can be checked.
    """
    rubrics = [rubric_called(name) for name in knobs.rubrics]
    if knobs.policy == "classic_uct":
        return
    if knobs.judging == "agreement":
        raise ConfigError(
            "search.judging: 'agreement' needs answers that can be checked, and a chat reply "
            "cannot; use 'listwise', 'pointwise' or 'pairwise'"
        )
    known = {"score", *RUBRICS["overall"].attributes}
    unknown = sorted(set(knobs.attribute_weights) - known)
    if unknown:
        raise ConfigError(
            f"search.attribute_weights: no judge is asked for {unknown[0]!r}; there are "
            f"{_named(known)}"
        )
    weighted = {name for name, weight in knobs.attribute_weights.items() if weight}
    for rubric in rubrics:
        if knobs.attribute_weights and not weighted & {"score", *rubric.attributes}:
            raise ConfigError(
                f"search.attribute_weights: the rubric {rubric.name!r} asks for none of "
                f"{_named(knobs.attribute_weights)}, so its passes would count for nothing; weigh "
                f"'score' or one of {_named(rubric.attributes)}"
            )
