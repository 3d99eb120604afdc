"""Processor: the reply as it is sent, in chat bubbles. At most one call, or rules.

| knob `llm` | a plan from the search | no plan |
|---|---|---|
| `auto` | no call: the plan | one call |
| `always` | one call | one call |
| `never` | no call: the plan | no call: rules |

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | humanize | 0.7 | 1600 |

The model may loosen the wording and must keep what is said. Its bubbles are used when
there are 1 to `max_bubbles`, no number of the draft is lost or new, and their overlap
with the draft is at least `MIN_OVERLAP`. Delays are always by rule, see `bubbles`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from nodes.answer import Answer, BubbleText
from nodes.bubbles import (
    MAX_BUBBLES,
    MAX_DELAY_SECONDS,
    MIN_DELAY_SECONDS,
    split_bubbles,
    timed_bubbles,
)
from nodes.phrases import mood_phrase, style_phrase
from nodes.prompt import MAX_CHARS, lines_shown
from nodes.question import Question
from nodes.records import (
    Bubble,
    Degradation,
    Language,
    Line,
    Mode,
    Mood,
    Persona,
    Record,
    StyleVector,
)
from turnwise.calls import Asker, Purpose, Role, Sampling
from turnwise.calls.errors import InvalidAnswer

__all__ = ["MIN_OVERLAP", "HumanizeAnswer", "ProcessedReply", "ProcessorLLM", "humanize", "overlap"]

ProcessorLLM = Literal["auto", "always", "never"]

MIN_OVERLAP = 0.55
"""Least overlap of the model's bubbles with the draft.

Measured: of unrelated chat messages 99 % overlap less than .46 in English and .17 in
Chinese; a message retold in looser words overlaps .75 or more.
"""

_NUMBER = re.compile(r"\d+")


class ProcessedReply(Record):
    """A reply and its bubbles. They join to it, white space aside."""

    text: str
    bubbles: tuple[Bubble, ...]


class HumanizeAnswer(Answer):
    """What the model answers: the reply as chat bubbles, in order."""

    bubbles: Annotated[list[BubbleText], Field(min_length=1)]


QUESTION = Question(
    node="processor",
    role=Role.MAIN,
    purpose=Purpose.HUMANIZE,
    answer=HumanizeAnswer,
    sampling=Sampling(temperature=0.7, max_tokens=1600),
)


def _compact(text: str) -> str:
    return "".join(text.split())


def _bigrams(text: str) -> Counter[str]:
    marks = "".join(mark for mark in text.casefold() if mark.isalnum())
    return Counter(marks[place : place + 2] for place in range(len(marks) - 1))


def overlap(text: str, other: str) -> float:
    """Return how alike two texts are: Dice's coefficient of their character bigrams.

    Letters, digits and Han characters count, repetitions too; case, marks and white
    space do not. Where neither has a bigram, it is 1 for equal texts and 0 otherwise.

    Returns:
        A share in [0, 1]; 1 for the same letters.
    """
    ours, theirs = _bigrams(text), _bigrams(other)
    total = ours.total() + theirs.total()
    if total == 0:
        return 1.0 if _compact(text) == _compact(other) else 0.0
    return 2.0 * (ours & theirs).total() / total


def _problem(texts: Sequence[str], draft: str, max_bubbles: int) -> str | None:
    """Return what is wrong with the model's bubbles, or None."""
    if not texts:
        return "there are no bubbles"
    if len(texts) > max_bubbles:
        return f"{len(texts)} bubbles, at most {max_bubbles} are wanted"
    joined = "\n".join(texts)
    alike = overlap(joined, draft)
    if alike < MIN_OVERLAP:
        return f"the bubbles overlap {alike:.2f} with the draft, at least {MIN_OVERLAP} is wanted"
    if set(_NUMBER.findall(joined)) != set(_NUMBER.findall(draft)):
        return "the bubbles lose or add a number"
    return None


def _of_plan(planned: Sequence[Bubble], draft: str, max_bubbles: int) -> ProcessedReply | None:
    """Return the search's plan with its delays clamped, or None when it is not the draft."""
    bubbles = tuple(
        Bubble(
            text=bubble.text.strip(),
            delay_seconds=min(max(bubble.delay_seconds, MIN_DELAY_SECONDS), MAX_DELAY_SECONDS),
        )
        for bubble in planned
        if bubble.text.strip()
    )
    joined = _compact("".join(bubble.text for bubble in bubbles))
    if joined != _compact(draft) or len(bubbles) > max_bubbles:
        return None
    return ProcessedReply(text=draft, bubbles=bubbles)


def _of_answer(
    answer: HumanizeAnswer, draft: str, *, style: StyleVector, mood: Mood, max_bubbles: int
) -> ProcessedReply:
    """Return the model's bubbles as the reply.

    Raises:
        InvalidAnswer: when they do not say what the draft says.
    """
    problem = _problem(answer.bubbles, draft, max_bubbles)
    if problem is not None:
        raise InvalidAnswer(problem, "\n".join(answer.bubbles))
    bubbles = timed_bubbles(answer.bubbles, style=style, mood=mood)
    joined = "\n".join(bubble.text for bubble in bubbles)
    is_same = _compact(joined) == _compact(draft)
    return ProcessedReply(text=draft if is_same else joined, bubbles=bubbles)


def _without_call(problem: str) -> Degradation:
    return Degradation(node="processor", reason="invalid", detail=problem)


async def humanize(
    asker: Asker,
    *,
    language: Language,
    draft: str,
    planned: Sequence[Bubble] = (),
    user_text: str,
    history: Sequence[Line] = (),
    persona: Persona,
    style: StyleVector,
    mood: Mood,
    mode: Mode,
    llm: ProcessorLLM = "auto",
    max_bubbles: int = MAX_BUBBLES,
) -> tuple[ProcessedReply, Degradation | None]:
    """Return the reply in bubbles, and why rules cut it if they had to.

    A plan that does not join to the draft is not used, and rules cut the draft: a bad
    plan never buys a call that was not planned. A blank draft has no bubbles.

    Args:
        asker: who reaches the model.
        language: language of the prompt and the reply.
        draft: the reply that was chosen.
        planned: the search's bubbles; empty when it left none.
        user_text: the message that is answered. Untrusted.
        history: the lines before it, oldest first.
        persona: who the agent is.
        style: how the reply sounds.
        mood: the agent's mood.
        mode: how the agent takes this turn.
        llm: whether to call; see the table at the head of this file.
        max_bubbles: most bubbles; at least 1.

    Raises:
        CallError: a fatal one.
        ValueError: when `max_bubbles` is below 1.
    """

    def by_rules() -> ProcessedReply:
        cut = split_bubbles(draft, style=style, mood=mood, max_bubbles=max_bubbles)
        return ProcessedReply(text=draft, bubbles=cut)

    def of_answer(answer: HumanizeAnswer) -> ProcessedReply:
        return _of_answer(answer, draft, style=style, mood=mood, max_bubbles=max_bubbles)

    plan = _of_plan(planned, draft, max_bubbles) if planned else None
    if not draft.strip() or llm == "never" or (llm == "auto" and planned):
        if planned and plan is None:
            return by_rules(), _without_call("the search's bubbles are too many or not the reply")
        return plan or by_rules(), None
    if len(draft) > MAX_CHARS["reply"]:
        problem = f"the reply has {len(draft)} characters, more than a prompt holds"
        return plan or by_rules(), _without_call(problem)
    return await QUESTION.ask(
        asker,
        language,
        {
            "persona": persona,
            "chat": lines_shown(history, user_text),
            "mood": mood_phrase(mood, language),
            "mode": mode,
            "task": {"style": style_phrase(style, language), "count": max_bubbles},
            "reply": draft,
        },
        convert=of_answer,
        fallback=lambda: plan or by_rules(),
    )
