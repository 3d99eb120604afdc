"""Fused thinking: detection, inner monologue and reasoner in one call; or one call that replies.

| what | role | purpose | temperature | max_tokens | asked by |
|---|---|---|---|---|---|
| think | main | fuse | 0.6 | 1300 | detection |
| reply | main | fuse | 0.6 | 1000 | detection |

Departure from the serial pipeline: mode and mood follow by rule from what detection and
monologue find, so a fused prompt cannot see this turn's. It sees both as they were
before the turn; the one that replies sees the style that follows from them. The rules
run after it, on the parts of its answer, as they always do.

The call that replies asks for nothing that the reply does not need: a thought and the
reply. What the message carries is found by rules, there is no plan, and bubbles are cut by
rule.

A part that cannot be used is left to its own node, which asks its own question; so are
all of them when there is no answer at all. Without a usable reply the search runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from lats.draft import MAX_REPLY_CHARS, clean_text
from nodes.answer import Answer, Text
from nodes.detection import DetectionAnswer
from nodes.detection_rules import detect_by_rules
from nodes.fused_parts import FusedAnswer, Missing, Unusable, ask_fused, part, usable
from nodes.inner_monologue import MonologueAnswer, think_by_rules
from nodes.phrases import style_phrase
from nodes.question import Question, Tokens
from nodes.reasoner import ReasonerAnswer
from nodes.reasoner_rules import reason_by_rules
from nodes.records import (
    Degradation,
    Detection,
    Monologue,
    ResponsePlan,
)
from nodes.search_calls import REPLY_LEASE
from nodes.style import choose_style
from nodes.turn import TurnView
from turnwise.calls import Asker, Purpose, Role, Sampling

__all__ = [
    "FUSED_REPLY",
    "FUSED_THINKING",
    "ReplyingAnswer",
    "ThinkingAnswer",
    "Thoughts",
    "reply_at_once",
    "think_at_once",
]


def _reply_text(text: str) -> str:
    cleaned = clean_text(text, MAX_REPLY_CHARS)
    if not cleaned:
        raise ValueError("must not be blank")
    return cleaned


class ThinkingAnswer(FusedAnswer):
    """What the model answers: the answers of three nodes."""

    detection: Annotated[DetectionAnswer | Unusable, part(DetectionAnswer)] = Missing
    monologue: Annotated[MonologueAnswer | Unusable, part(MonologueAnswer)] = Missing
    plan: Annotated[ReasonerAnswer | Unusable, part(ReasonerAnswer)] = Missing


class ReplyingAnswer(Answer):
    """What the model answers when it replies at once. `reply` must say something."""

    thought: Text = ""
    reply: Annotated[str, Field(min_length=1), AfterValidator(_reply_text)]


@dataclass(frozen=True, slots=True)
class Thoughts:
    """What came of a fused call. None is what has to be asked apart.

    Args:
        detection: what was found in the message.
        monologue: what the agent thinks.
        plan: what the reply should reach; empty where the call replied.
        reply: the reply, where one was wanted.
        degradations: why parts, or all of them, have to be asked apart.
    """

    detection: Detection | None = None
    monologue: Monologue | None = None
    plan: ResponsePlan | None = None
    reply: str | None = None
    degradations: Sequence[Degradation] = ()


_FIELDS = ("persona", "chat", "summary", "stage", "relationship", "mood", "mode")

FUSED_THINKING: Question[ThinkingAnswer, ThinkingAnswer | None] = Question(
    node="detection",
    role=Role.MAIN,
    purpose=Purpose.FUSE,
    prompt="fused_thinking",
    answer=ThinkingAnswer,
    fields=_FIELDS,
    sampling=Sampling(temperature=0.6, max_tokens=1300),
    tokens=Tokens(1550, 370),
    convert=lambda answer, _view: answer,
    fallback=lambda _view: None,
    speaks_for=("detection", "inner_monologue", "reasoner"),
)


def _style_before(view: TurnView) -> str:
    """Return the style that follows from mood and mode before the turn, in words.

    What would change them is found by this call only.
    """
    style = choose_style(view.relationship, view.mood, view.mode, Detection())
    return style_phrase(style, view.language)


FUSED_REPLY: Question[ReplyingAnswer, ReplyingAnswer | None] = Question(
    node="detection",
    role=Role.MAIN,
    purpose=Purpose.FUSE,
    prompt="fused_reply",
    answer=ReplyingAnswer,
    # Memories are retrieved before this call; beside the other one they may not be there yet.
    fields=(*_FIELDS, "memories"),
    sampling=Sampling(temperature=0.6, max_tokens=1000),
    tokens=Tokens(800, 200),
    convert=lambda answer, _view: answer,
    fallback=lambda _view: None,
    asked=lambda view: {"task": {"style": _style_before(view)}},
    lease=REPLY_LEASE,
    speaks_for=("detection", "inner_monologue", "reasoner", "lats_search"),
)


async def think_at_once(asker: Asker, view: TurnView) -> Thoughts:
    """Return what one fused call found, thought and planned.

    Raises:
        CallError: a fatal one.
    """
    fused, degradations = await ask_fused(asker, FUSED_THINKING, view)
    if fused is None:
        return Thoughts(degradations=degradations)
    found, monologue = usable(fused.detection), usable(fused.monologue)
    plan = usable(fused.plan)
    detection = found.record() if found else None
    by_rules = reason_by_rules(
        view.user_text,
        detection or detect_by_rules(view.user_text, view.language),
        view.mode,
        view.language,
    )
    return Thoughts(
        detection=detection,
        monologue=monologue.record() if monologue else None,
        plan=plan.record(by_rules) if plan else None,
        degradations=degradations,
    )


async def reply_at_once(asker: Asker, view: TurnView) -> Thoughts:
    """Return the reply that one call wrote, and what rules find, feel and plan around it.

    Raises:
        CallError: a fatal one.
    """
    answer, degradations = await ask_fused(asker, FUSED_REPLY, view)
    if answer is None:
        return Thoughts(degradations=degradations)
    detection = detect_by_rules(view.user_text, view.language)
    monologue = think_by_rules(detection, view.mode, view.language)
    if answer.thought:
        monologue = monologue.model_copy(update={"thought": answer.thought})
    return Thoughts(
        detection=detection, monologue=monologue, plan=ResponsePlan(), reply=answer.reply
    )
