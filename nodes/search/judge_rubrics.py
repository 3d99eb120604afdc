"""Rubrics of the judge of a list by name: instructions, and the form of an answer.

Several attributes are scored in one pass. Where passes take different rubrics in turn, each
brings its own bias rather than the same one again; so each has its own instructions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from callwise.calls.errors import ConfigError
from lats.search_knobs import SearchKnobs
from nodes.records import Language
from nodes.search.action_answers import (
    CharacterVerdicts,
    FitVerdicts,
    ListEntry,
    ListVerdicts,
    OverallVerdicts,
)

__all__ = ["RUBRICS", "JudgeRubric", "check_judging", "rubric_called"]


_MEANINGS: Mapping[str, Mapping[Language, str]] = MappingProxyType(
    {
        "plan_alignment": {
            "en": "does what `plan` wants and nothing it is to avoid",
            "zh": "做到 `plan` 想做的，避开要避开的",
        },
        "persona": {"en": "only this person would say it so", "zh": "只有这个人才会这样说"},
        "relationship_fit": {
            "en": "neither closer nor colder than `stage`",
            "zh": "不比 `stage` 更近或更冷",
        },
        "mode_fit": {"en": "suits `mode`", "zh": "与 `mode` 相称"},
        "assistantness": {
            "en": "like an assistant; 0 is best",
            "zh": "像助手；0 最好",
        },
        "immersion": {
            "en": "a person in this conversation",
            "zh": "像身在这场对话里的真人",
        },
    }
)

_JOINTS: Mapping[Language, tuple[str, str, str]] = MappingProxyType(
    {"en": (" (", ")", ", "), "zh": ("（", "）", "、")}
)


@dataclass(frozen=True, slots=True)
class JudgeRubric:
    """One way to look at candidates.

    Args:
        name: as `search.rubrics` has it.
        answer: the form of the answer; its entries' fields are the sub-scores asked for.
        emphasis: what decides the overall score, by language.
    """

    name: str
    answer: type[ListVerdicts]
    emphasis: Mapping[Language, str]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the sub-scores, in the order in which they are asked for."""
        asked = self.answer.entry.model_fields
        return tuple(name for name in asked if name not in ListEntry.model_fields)

    def text(self, language: Language) -> str:
        """Return the instructions that are this rubric's own."""
        stop = "。" if language == "zh" else "."
        return f"{self.emphasis[language]}{self.sub_scores(language)}{stop}"

    def sub_scores(self, language: Language) -> str:
        """Return the sub-scores that are asked for, and what each of them means."""
        opening, closing, joint = _JOINTS[language]
        named = (f"{name}{opening}{_MEANINGS[name][language]}{closing}" for name in self.attributes)
        return joint.join(named)


RUBRICS: Mapping[str, JudgeRubric] = MappingProxyType(
    {
        rubric.name: rubric
        for rubric in (
            JudgeRubric(
                "overall",
                OverallVerdicts,
                {
                    "en": "score is how good the message is, all in all: which would you rather "
                    "have sent? The others: ",
                    "zh": "score 是总体上有多好：你更愿意发出哪一条？其余：",
                },
            ),
            JudgeRubric(
                "character",
                CharacterVerdicts,
                {
                    "en": "This time look at who is speaking. score is how much the message is "
                    "this very person, alive in this conversation, whatever else it does. The "
                    "others: ",
                    "zh": "这一次请看说话的人。score 是这条消息有多像这个人本人、活在这场对话里，"
                    "其他暂且不论。其余：",
                },
            ),
            JudgeRubric(
                "fit",
                FitVerdicts,
                {
                    "en": "This time look at the moment. score is how well the message serves "
                    "what is wanted here, between these two people, as things stand now. The "
                    "others: ",
                    "zh": "这一次请看此刻。score 是就这两个人眼下的情形而言，这条消息在多大程度上"
                    "做到了该做的事。其余：",
                },
            ),
        )
    }
)
"""All rubrics by name. `overall` asks for every attribute at once."""


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
    """Refuse knobs under which the judge of replies could not say what is to count.

    Raises:
        ConfigError: for a rubric that there is not, for weights of which a rubric asks for
            none, and for judging by agreement, which needs answers that can be checked.
    """
    rubrics = [rubric_called(name) for name in knobs.rubrics]
    if knobs.policy == "classic_uct":
        return
    if knobs.judging == "agreement":
        raise ConfigError(
            "search.judging: 'agreement' needs answers that can be checked, and a chat reply "
            "cannot; use 'listwise', 'pointwise' or 'pairwise'"
        )
    known = {"score", *_MEANINGS}
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
