"""Reasoner: what the reply should reach, before any words are chosen. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | reason | 0.4 | 500 |

Memories are not retrieved yet when it runs; it plans from what was said and felt.
"""

from collections.abc import Sequence

from pydantic import Field

from nodes.answer import Answer, FilledTexts, Text, Texts
from nodes.phrases import detection_shown, mood_phrase, relationship_phrase
from nodes.prompt import lines_shown
from nodes.question import Question
from nodes.reasoner_rules import reason_by_rules
from nodes.records import (
    Degradation,
    Detection,
    Language,
    Line,
    Mode,
    Monologue,
    Mood,
    Persona,
    Relationship,
    ResponsePlan,
)
from turnwise.calls import Asker, Purpose, Role, Sampling

__all__ = ["ReasonerAnswer", "reason"]


class ReasonerAnswer(Answer):
    """What the model answers. Where it names no goal, the rules do; see `record`."""

    goals: FilledTexts
    must_mention: Texts = Field(default_factory=list)
    avoid: Texts = Field(default_factory=list)
    tone: Text = ""

    def record(self, by_rules: ResponsePlan) -> ResponsePlan:
        """Return the answer as the record that the other nodes read.

        Args:
            by_rules: whose goals stand in for those that the answer leaves out.
        """
        return ResponsePlan(
            goals=tuple(self.goals) or by_rules.goals,
            must_mention=tuple(self.must_mention),
            avoid=tuple(self.avoid),
            tone=self.tone,
        )


QUESTION = Question(
    node="reasoner",
    role=Role.MAIN,
    purpose=Purpose.REASON,
    answer=ReasonerAnswer,
    sampling=Sampling(temperature=0.4, max_tokens=500),
)


async def reason(
    asker: Asker,
    *,
    language: Language,
    user_text: str,
    history: Sequence[Line] = (),
    persona: Persona,
    relationship: Relationship,
    summary: str = "",
    detection: Detection,
    monologue: Monologue,
    mood: Mood,
    mode: Mode,
) -> tuple[ResponsePlan, Degradation | None]:
    """Return the plan of the reply, and why rules made it if they did.

    Args:
        asker: who reaches the model.
        language: language of the prompt and of the plan.
        user_text: the message. Untrusted.
        history: the lines before it, oldest first.
        persona: who the agent is.
        relationship: how the agent stands to the user.
        summary: what came before `history`; blank when nothing did.
        detection: what was found in the message.
        monologue: what the agent thinks.
        mood: the agent's mood.
        mode: how the agent takes this turn.

    Raises:
        CallError: a fatal one.
    """
    by_rules = reason_by_rules(user_text, detection, mode, language)
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
            "monologue": monologue,
            "mood": mood_phrase(mood, language),
            "mode": mode,
        },
        convert=lambda answer: answer.record(by_rules),
        fallback=lambda: by_rules,
    )
