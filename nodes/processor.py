"""Processor: the reply in chat bubbles. At most one call, or rules.

| knob `llm` | a plan from the search | no plan |
|---|---|---|
| `auto` | no call: the plan | one call |
| `always` | one call | one call |
| `never` | no call: the plan | no call: rules |

| role | purpose | temperature | max_tokens |
|---|---|---|---|
| main | humanize | 0.7 | 1600 |

The model may loosen the wording and must keep the content. Its bubbles are used when
there are 1 to `max_bubbles`, no number of the draft is lost or new, and their overlap
with the draft is at least `MIN_OVERLAP`. Delays are always by rule, see `bubbles`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from callwise.calls import LLM, Purpose, Role, Sampling
from callwise.calls.errors import InvalidAnswer
from nodes.bubbles import (
    MAX_BUBBLES,
    MAX_DELAY_SECONDS,
    MIN_DELAY_SECONDS,
    split_bubbles,
    timed_bubbles,
)
from nodes.prompt import MAX_CHARS
from nodes.question import AnswerForm, FilledText, Question, Tokens
from nodes.records import Bubble, Degradation, FrozenRecord
from nodes.turn import TurnView, phrase_of

__all__ = [
    "HUMANIZING",
    "MIN_OVERLAP",
    "HumanizeAnswer",
    "ProcessedReply",
    "ProcessorLLM",
    "humanize",
    "overlap",
]

ProcessorLLM = Literal["auto", "always", "never"]

MIN_OVERLAP = 0.55
"""Least overlap of the model's bubbles with the draft.

Measured: of unrelated chat messages 99 % overlap less than .46 in English and .17 in
Chinese; a message retold in looser words overlaps .75 or more.
"""

_NUMBER = re.compile(r"\d+")


class ProcessedReply(FrozenRecord):
    """A reply and its bubbles. They join to it, white space aside."""

    text: str
    bubbles: tuple[Bubble, ...]


class HumanizeAnswer(AnswerForm):
    """The model's answer: the reply as chat bubbles, in order."""

    bubbles: Annotated[list[FilledText], Field(min_length=1)]


def _compact(text: str) -> str:
    return "".join(text.split())


def _bigrams(text: str) -> Counter[str]:
    marks = "".join(mark for mark in text.casefold() if mark.isalnum())
    return Counter(marks[place : place + 2] for place in range(len(marks) - 1))


def overlap(text: str, other: str) -> float:
    """Return the similarity of two texts: Dice's coefficient of their character bigrams.

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


def _problem(texts: Sequence[str], draft: str) -> str | None:
    """Return the reason why the model's bubbles cannot be used, or None."""
    if not texts:
        return "there are no bubbles"
    if len(texts) > MAX_BUBBLES:
        return f"{len(texts)} bubbles, at most {MAX_BUBBLES} are wanted"
    joined = "\n".join(texts)
    alike = overlap(joined, draft)
    if alike < MIN_OVERLAP:
        return f"the bubbles overlap {alike:.2f} with the draft, at least {MIN_OVERLAP} is wanted"
    if set(_NUMBER.findall(joined)) != set(_NUMBER.findall(draft)):
        return "the bubbles lose or add a number"
    return None


def _of_plan(planned: Sequence[Bubble], draft: str) -> ProcessedReply | None:
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
    if joined != _compact(draft) or len(bubbles) > MAX_BUBBLES:
        return None
    return ProcessedReply(text=draft, bubbles=bubbles)


def _of_answer(answer: HumanizeAnswer, view: TurnView) -> ProcessedReply:
    """Return the model's bubbles as the reply.

    Raises:
        InvalidAnswer: when their content is not the draft's.
    """
    texts = [text.strip() for text in answer.bubbles]
    problem = _problem(texts, view.draft)
    if problem is not None:
        raise InvalidAnswer(problem, "\n".join(texts))
    bubbles = timed_bubbles(texts, style=view.style, mood=view.mood)
    joined = "\n".join(bubble.text for bubble in bubbles)
    is_same = _compact(joined) == _compact(view.draft)
    return ProcessedReply(text=view.draft if is_same else joined, bubbles=bubbles)


def _by_rules(view: TurnView) -> ProcessedReply:
    """Return the search's plan, or the draft cut by rules where there is none of use."""
    cut = split_bubbles(view.draft, style=view.style, mood=view.mood)
    plan = _of_plan(view.planned_bubbles, view.draft)
    return plan or ProcessedReply(text=view.draft, bubbles=cut)


HUMANIZING = Question(
    node="processor",
    role=Role.MAIN,
    purpose=Purpose.HUMANIZE,
    prompt="processor",
    answer=HumanizeAnswer,
    fields=("persona", "chat", "mood", "mode", "reply"),
    sampling=Sampling(temperature=0.7, max_tokens=1600),
    tokens=Tokens(750, 150),
    convert=_of_answer,
    fallback=_by_rules,
    asked=lambda view: {
        "task": {"style": phrase_of("style", view.style, view.language), "count": MAX_BUBBLES}
    },
)


async def humanize(
    llm: LLM, view: TurnView, *, asks: ProcessorLLM = "auto"
) -> tuple[ProcessedReply, Degradation | None]:
    """Return the reply in bubbles, and why rules cut it if they had to.

    A plan that does not join to the draft is not used, and rules cut the draft: a bad
    plan never buys a call that was not planned. A blank draft has no bubbles. `asks` is the knob
    `processor.llm`; see the table at the head of this file.

    Raises:
        CallError: a fatal one.
    """
    draft, planned, problem = view.draft, view.planned_bubbles, ""
    if not draft.strip() or asks == "never" or (asks == "auto" and planned):
        if planned and _of_plan(planned, draft) is None:
            problem = "the search's bubbles are too many or not the reply"
    elif len(draft) > MAX_CHARS["reply"]:
        problem = f"the reply has {len(draft)} characters, more than a prompt may have"
    else:
        return await HUMANIZING.ask(llm, view)
    degradation = Degradation(node="processor", reason="invalid", detail=problem)
    return _by_rules(view), degradation if problem else None
