"""Reasoner: what the reply should reach, before any words are chosen. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | reason | 0.4 | 500 |

Memories are not retrieved yet when it runs; it plans from what was said and felt.
"""

from pydantic import Field

from nodes.answer import Answer, FilledTexts, Text, Texts
from nodes.question import Question, Tokens
from nodes.reasoner_rules import reason_by_rules
from nodes.records import (
    ResponsePlan,
)
from nodes.turn import TurnView
from turnwise.calls import Purpose, Role, Sampling

__all__ = ["REASONING", "ReasonerAnswer"]


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


def _by_rules(view: TurnView) -> ResponsePlan:
    return reason_by_rules(view.user_text, view.detection, view.mode, view.language)


REASONING = Question(
    node="reasoner",
    role=Role.MAIN,
    purpose=Purpose.REASON,
    prompt="reasoner",
    answer=ReasonerAnswer,
    fields=(
        "persona",
        "chat",
        "summary",
        "stage",
        "relationship",
        "mood",
        "mode",
        "detection",
        "monologue",
    ),
    sampling=Sampling(temperature=0.4, max_tokens=500),
    tokens=Tokens(850, 150),
    convert=lambda answer, view: answer.record(_by_rules(view)),
    fallback=_by_rules,
)
