"""Inner monologue: what the agent thinks before it answers. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | monologue | 0.9 | 400 |
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nodes.answer import Answer, Text
from nodes.phrases import detection_shown, relationship_phrase
from nodes.prompt import lines_shown
from nodes.question import Question
from nodes.records import (
    Degradation,
    Detection,
    Language,
    Line,
    Mode,
    Monologue,
    Persona,
    Relationship,
)
from turnwise.calls import Asker, Purpose, Role, Sampling

__all__ = ["MonologueAnswer", "think", "think_by_rules"]


class MonologueAnswer(Answer):
    """What the model answers. `thought` must be there."""

    thought: Text
    feeling: Text = ""
    impulse: Text = ""

    def record(self) -> Monologue:
        """Return the answer as the record that the other nodes read."""
        return Monologue(thought=self.thought, feeling=self.feeling, impulse=self.impulse)


QUESTION = Question(
    node="inner_monologue",
    role=Role.MAIN,
    purpose=Purpose.MONOLOGUE,
    answer=MonologueAnswer,
    sampling=Sampling(temperature=0.9, max_tokens=400),
)


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


async def think(
    asker: Asker,
    *,
    language: Language,
    user_text: str,
    history: Sequence[Line] = (),
    persona: Persona,
    relationship: Relationship,
    summary: str = "",
    detection: Detection,
    mode: Mode,
) -> tuple[Monologue, Degradation | None]:
    """Return what the agent thinks, and why rules thought it if they did.

    Args:
        asker: who reaches the model.
        language: language of the prompt and of the thought.
        user_text: the message. Untrusted.
        history: the lines before it, oldest first.
        persona: who the agent is.
        relationship: how the agent stands to the user.
        summary: what came before `history`; blank when nothing did.
        detection: what was found in the message.
        mode: how the agent takes this turn.

    Raises:
        CallError: a fatal one.
    """
    return await QUESTION.ask(
        asker,
        language,
        {
            "persona": persona,
            "chat": lines_shown(history, user_text),
            "summary": summary,
            "stage": relationship.stage,
            "relationship": relationship_phrase(relationship, language),
            "detection": detection_shown(detection, language),
            "mode": mode,
        },
        convert=MonologueAnswer.record,
        fallback=lambda: think_by_rules(detection, mode, language),
    )
