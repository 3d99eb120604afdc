"""Detection: what is going on in the user's message. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| fast | detect | 0 | 400 |
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from nodes.answer import Answer, SignedScore, Text, UnitScore, each_once
from nodes.detection_rules import detect_by_rules
from nodes.question import Question, Tokens
from nodes.records import (
    Detection,
    Signal,
    Stage,
)
from turnwise.calls import Purpose, Role, Sampling

__all__ = ["DETECTION", "DetectionAnswer"]


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


DETECTION = Question(
    node="detection",
    role=Role.FAST,
    purpose=Purpose.DETECT,
    prompt="detection",
    answer=DetectionAnswer,
    fields=("persona", "chat", "summary", "stage", "relationship"),
    sampling=Sampling(temperature=0.0, max_tokens=400),
    tokens=Tokens(1050, 100),
    convert=lambda answer, _view: answer.record(),
    fallback=lambda view: detect_by_rules(view.user_text, view.language),
)
