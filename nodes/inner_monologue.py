"""Inner monologue: the agent's thought before it answers. One call, or rules.

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | monologue | 0.9 | 400 |
"""

from callwise.calls import Purpose, Role, Sampling
from nodes.prompt import words
from nodes.question import AnswerForm, Question, Text, Tokens
from nodes.records import Detection, Language, Mode, Monologue

__all__ = ["MONOLOGUE", "MonologueAnswer", "think_by_rules"]


class MonologueAnswer(AnswerForm):
    """The model's answer. `thought` is required."""

    thought: Text
    feeling: Text = ""
    impulse: Text = ""

    def record(self) -> Monologue:
        """Return the answer as the record that the other nodes read."""
        return Monologue(**dict(self))


def think_by_rules(detection: Detection, mode: Mode, language: Language) -> Monologue:
    """Return the thought that follows from what was detected."""
    if detection.hostility >= 0.5:
        feeling = "hurt"
    elif detection.sentiment <= -0.25:
        feeling = "concerned"
    elif detection.sentiment >= 0.25:
        feeling = "pleased"
    else:
        feeling = "puzzled" if detection.vagueness >= 0.6 else "calm"
    unknown = "对方说了一句话。" if language == "zh" else "The user says something."
    texts = words("rules")
    return Monologue(
        thought=detection.context or unknown,
        feeling=texts["feelings"][language][feeling],
        impulse=texts["impulses"][language][mode],
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
