"""Detection: what is going on in the user's message. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | detect | 0 | 400 |
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from nodes.answer import Answer, SignedScore, Text, UnitScore, each_once
from nodes.detection_rules import detect_by_rules
from nodes.phrases import relationship_phrase
from nodes.prompt import lines_shown
from nodes.question import Question
from nodes.records import (
    Degradation,
    Detection,
    Language,
    Line,
    Persona,
    Relationship,
    Signal,
    Stage,
)
from turnwise.calls import Asker, Purpose, Role, Sampling

__all__ = ["DetectionAnswer", "detect"]


class DetectionAnswer(Answer):
    """What the model answers. `signals`, `sentiment` and `hostility` must be there."""

    context: Text = ""
    signals: Annotated[list[Signal], Field(max_length=len(Signal)), AfterValidator(each_once)]
    sentiment: SignedScore
    arousal: SignedScore = 0.0
    hostility: UnitScore
    vagueness: UnitScore = 0.0
    stage_hint: Stage | None = None

    def record(self) -> Detection:
        """Return the answer as the record that the other nodes read."""
        return Detection(
            context=self.context,
            signals=tuple(self.signals),
            sentiment=self.sentiment,
            arousal=self.arousal,
            hostility=self.hostility,
            vagueness=self.vagueness,
            stage_hint=self.stage_hint,
        )


QUESTION = Question(
    node="detection",
    role=Role.FAST,
    purpose=Purpose.DETECT,
    answer=DetectionAnswer,
    sampling=Sampling(temperature=0.0, max_tokens=400),
)


async def detect(
    asker: Asker,
    *,
    language: Language,
    user_text: str,
    history: Sequence[Line] = (),
    persona: Persona,
    relationship: Relationship,
    summary: str = "",
) -> tuple[Detection, Degradation | None]:
    """Return what was found in the user's message, and why rules found it if they did.

    Args:
        asker: who reaches the model.
        language: language of the prompt and of `Detection.context`.
        user_text: the message. Untrusted; any length, clipped in the prompt.
        history: the lines before it, oldest first.
        persona: who the agent is.
        relationship: how the agent stands to the user.
        summary: what came before `history`; blank when nothing did.

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
        },
        convert=DetectionAnswer.record,
        fallback=lambda: detect_by_rules(user_text, language),
    )
