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
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from lats.answers import MAX_REPLY_CHARS, clean_text
from nodes.answer import Answer, Text
from nodes.detection import DetectionAnswer
from nodes.detection_rules import detect_by_rules
from nodes.fused_parts import FusedAnswer, Missing, Unusable, ask_fused, ask_whole, part, usable
from nodes.inner_monologue import MonologueAnswer, think_by_rules
from nodes.phrases import mood_phrase, relationship_phrase, style_phrase
from nodes.prompt import chat, lines_shown
from nodes.reasoner import ReasonerAnswer
from nodes.reasoner_rules import reason_by_rules
from nodes.records import (
    Degradation,
    Detection,
    Language,
    Line,
    MemoryLine,
    Mode,
    Monologue,
    Mood,
    Persona,
    Relationship,
    ResponsePlan,
    StyleVector,
)
from nodes.search.action_calls import REPLY_LEASE
from turnwise.calls import Asker, Call, Purpose, Role, Sampling

__all__ = [
    "ReplyingAnswer",
    "ThinkingAnswer",
    "ThinkingMaterial",
    "Thoughts",
    "reply_at_once",
    "think_at_once",
    "thinking_call",
]

NODES = {"detection": "detection", "monologue": "inner_monologue", "plan": "reasoner"}
"""The node that each part of the answer is for."""

THINKING_SAMPLING = Sampling(temperature=0.6, max_tokens=1300)
REPLYING_SAMPLING = Sampling(temperature=0.6, max_tokens=1000)


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
class ThinkingMaterial:
    """What the fused prompts see.

    Args:
        language: language of the prompt, the notes and the reply.
        user_text: the message. Untrusted.
        history: the lines before it, oldest first.
        persona: who the agent is.
        relationship: how the agent stands to the user.
        summary: what came before `history`; blank when nothing did.
        mood: the agent's mood before the turn.
        mode: how the agent took the turn before.
        memories: older things worth knowing; for the reply only.
        style: how the reply should sound; for the reply only.
    """

    language: Language
    user_text: str
    history: Sequence[Line]
    persona: Persona
    relationship: Relationship
    summary: str
    mood: Mood
    mode: Mode
    memories: Sequence[MemoryLine] = ()
    style: StyleVector | None = None


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


def thinking_call(material: ThinkingMaterial, *, writes_reply: bool) -> Call:
    """Return the fused call.

    Args:
        material: of this turn.
        writes_reply: whether it replies, instead of preparing a reply. It draws on the
            reply's lease then: it is the call that the reply must have.
    """
    language = material.language
    fields: dict[str, Any] = {
        "persona": material.persona,
        "chat": lines_shown(material.history, material.user_text),
        "summary": material.summary,
        "stage": material.relationship.stage,
        "relationship": relationship_phrase(material.relationship, language),
        "mood": mood_phrase(material.mood, language),
        "mode": material.mode,
    }
    if not writes_reply:
        return Call(
            role=Role.MAIN,
            purpose=Purpose.FUSE,
            messages=chat("fused_thinking", language, **fields),
            response_model=ThinkingAnswer,
            sampling=THINKING_SAMPLING,
        )
    fields["memories"] = [memory.shown() for memory in material.memories]
    if material.style is not None:
        fields["task"] = {"style": style_phrase(material.style, language)}
    return Call(
        role=Role.MAIN,
        purpose=Purpose.FUSE,
        messages=chat("fused_reply", language, **fields),
        response_model=ReplyingAnswer,
        sampling=REPLYING_SAMPLING,
        lease=REPLY_LEASE,
    )


async def think_at_once(asker: Asker, material: ThinkingMaterial) -> Thoughts:
    """Return what one fused call found, thought and planned.

    Args:
        asker: who reaches the model.
        material: of this turn.

    Raises:
        CallError: a fatal one.
    """
    call = thinking_call(material, writes_reply=False)
    fused, degradations = await ask_fused(asker, call, answer=ThinkingAnswer, nodes=NODES)
    if fused is None:
        return Thoughts(degradations=degradations)
    found, monologue = usable(fused.detection), usable(fused.monologue)
    plan = usable(fused.plan)
    language, user_text = material.language, material.user_text
    detection = found.record() if found else None
    by_rules = reason_by_rules(
        user_text, detection or detect_by_rules(user_text, language), material.mode, language
    )
    return Thoughts(
        detection=detection,
        monologue=monologue.record() if monologue else None,
        plan=plan.record(by_rules) if plan else None,
        degradations=degradations,
    )


async def reply_at_once(asker: Asker, material: ThinkingMaterial) -> Thoughts:
    """Return the reply that one call wrote, and what rules find, feel and plan around it.

    Args:
        asker: who reaches the model.
        material: of this turn.

    Raises:
        CallError: a fatal one.
    """
    call = thinking_call(material, writes_reply=True)
    answer, degradations = await ask_whole(asker, call, answer=ReplyingAnswer, node="detection")
    if answer is None:
        return Thoughts(degradations=degradations)
    detection = detect_by_rules(material.user_text, material.language)
    monologue = think_by_rules(detection, material.mode, material.language)
    if answer.thought:
        monologue = monologue.model_copy(update={"thought": answer.thought})
    return Thoughts(
        detection=detection, monologue=monologue, plan=ResponsePlan(), reply=answer.reply
    )
