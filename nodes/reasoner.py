"""Reasoner: the plan of the reply, before any words are chosen. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | reason | 0.4 | 500 |

Memories are not retrieved yet when it runs; it plans from what was said and felt.
"""

from pydantic import Field

from callwise.calls import Purpose, Role, Sampling
from nodes.prompt import MAX_CHARS, clip, words
from nodes.question import AnswerForm, FilledTexts, Question, Text, Texts, Tokens
from nodes.records import Detection, Language, Mode, ResponsePlan, Signal
from nodes.text import split_sentences
from nodes.turn import TurnView

__all__ = ["MAX_GOALS", "REASONING", "ReasonerAnswer", "reason_by_rules"]

MAX_GOALS = 3
"""Most goals: a chat message that wants more reaches none."""

MAX_QUESTION_CHARS = 120
"""Longest question that the plan repeats, in characters."""


def _asked(user_text: str) -> str | None:
    """Return the last question of a message, or None when no sentence ends as one."""
    sentences = split_sentences(clip(user_text, MAX_CHARS["user_text"]))
    questions = (text.strip() for text in reversed(sentences))
    asked = next(
        (text for text in questions if text.rstrip("”\"')」』）").endswith(("?", "？"))), None
    )
    return clip(asked, MAX_QUESTION_CHARS) if asked is not None else None


def reason_by_rules(
    user_text: str, detection: Detection, mode: Mode, language: Language
) -> ResponsePlan:
    """Return a plan with the most pressing goals, at least one; it repeats the last question."""
    texts = words("rules")
    goals: dict[str, str] = dict(texts["goals"][language])
    any_goal = goals.pop("any")
    # An attempt on the persona often comes as a question; that one is not to be answered.
    if Signal.MANIPULATION not in detection.signals and (asked := _asked(user_text)):
        goals[Signal.QUESTION] = (
            f"回答对方的问题：{asked}" if language == "zh" else f"Answer the question: {asked}"
        )
    chosen = [goal for signal, goal in goals.items() if signal in detection.signals]
    return ResponsePlan(
        goals=tuple(chosen[:MAX_GOALS]) or (any_goal,),
        avoid=tuple(texts["avoid"][language][mode]),
        tone=texts["tones"][language][mode],
    )


class ReasonerAnswer(AnswerForm):
    """The model's answer. Where it names no goal, the rules do; see `record`."""

    goals: FilledTexts
    must_mention: Texts = Field(default_factory=list)
    avoid: Texts = Field(default_factory=list)
    tone: Text = ""

    def record(self, by_rules: ResponsePlan) -> ResponsePlan:
        """Return the answer as a record, with the goals of rules where it has none."""
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
