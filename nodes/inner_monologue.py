"""Inner monologue: what the agent thinks before it answers. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | monologue | 0.9 | 400 |
"""

from collections.abc import Mapping
from types import MappingProxyType

from callwise.calls import Purpose, Role, Sampling
from nodes.answer import AnswerForm, Text
from nodes.question import Question, Tokens
from nodes.records import (
    Detection,
    Language,
    Mode,
    Monologue,
)

__all__ = ["MONOLOGUE", "MonologueAnswer", "think_by_rules"]


class MonologueAnswer(AnswerForm):
    """What the model answers. `thought` must be there."""

    thought: Text
    feeling: Text = ""
    impulse: Text = ""

    def record(self) -> Monologue:
        """Return the answer as the record that the other nodes read."""
        return Monologue(thought=self.thought, feeling=self.feeling, impulse=self.impulse)


_IMPULSES: Mapping[Language, Mapping[Mode, str]] = MappingProxyType(
    {
        "en": {
            Mode.NORMAL: "Answer what was said.",
            Mode.PLAYFUL: "Tease back a little.",
            Mode.SUPPORTIVE: "Be there and listen first.",
            Mode.CURIOUS: "Find out more.",
            Mode.GUARDED: "Keep calm and keep some distance.",
            Mode.BRIEF: "Keep it short.",
        },
        "zh": {
            Mode.NORMAL: "就着这句话回。",
            Mode.PLAYFUL: "逗回去一句。",
            Mode.SUPPORTIVE: "先陪着，听对方说。",
            Mode.CURIOUS: "想多了解一点。",
            Mode.GUARDED: "稳住，保持一点距离。",
            Mode.BRIEF: "简短地回。",
        },
    }
)

_FEELINGS: Mapping[Language, tuple[str, str, str, str, str]] = MappingProxyType(
    {
        "en": ("hurt", "concerned", "calm", "pleased", "puzzled"),
        "zh": ("有点受伤", "有些担心", "平静", "挺高兴", "有点摸不着头脑"),
    }
)
"""Feelings when attacked, when the user is unhappy, otherwise, when the user is happy,
and when there is little to go by."""


def think_by_rules(detection: Detection, mode: Mode, language: Language) -> Monologue:
    """Return the thought that follows from what was detected.

    Args:
        detection: what was found in the user's message.
        mode: how the agent takes this turn.
        language: language of the texts.
    """
    hurt, concerned, calm, pleased, puzzled = _FEELINGS[language]
    if detection.hostility >= 0.5:
        feeling = hurt
    elif detection.sentiment <= -0.25:
        feeling = concerned
    elif detection.sentiment >= 0.25:
        feeling = pleased
    else:
        feeling = puzzled if detection.vagueness >= 0.6 else calm
    unknown = "对方说了一句话。" if language == "zh" else "The user says something."
    return Monologue(
        thought=detection.context or unknown, feeling=feeling, impulse=_IMPULSES[language][mode]
    )


MONOLOGUE = Question(
    node="inner_monologue",
    role=Role.MAIN,
    purpose=Purpose.MONOLOGUE,
    prompt="inner_monologue",
    answer=MonologueAnswer,
    fields=("persona", "chat", "summary", "stage", "relationship", "detection", "mode"),
    sampling=Sampling(temperature=0.9, max_tokens=400),
    tokens=Tokens(700, 120),
    convert=lambda answer, _view: answer.record(),
    fallback=lambda view: think_by_rules(view.detection, view.mode, view.language),
)
