"""Fused thinking: detection, inner monologue and reasoner in one call, the reply if wanted.

| role | purpose | temperature | max_tokens | asked by |
|---|---|---|---|---|
| main | fuse | 0.6 | 1300, with the reply 2300 | detection |

Departure from the serial pipeline: mode and mood follow by rule from what detection and
monologue find, so the fused prompt cannot see this turn's. It sees both as they were
before the turn, and with the reply the style that follows from them. The rules run
after it, on the parts of its answer, as they always do.

A part that cannot be used is left to its own node, which asks its own question; so are
all of them when there is no answer at all. Without a usable reply the search runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from lats.draft import MAX_REPLY_CHARS, clean_text
from nodes.answer import Answer
from nodes.bubbles import MAX_BUBBLES
from nodes.detection import DetectionAnswer
from nodes.fused_parts import FusedAnswer, Missing, Unusable, ask_fused, part, usable
from nodes.inner_monologue import MonologueAnswer
from nodes.phrases import mood_phrase, relationship_phrase, style_phrase
from nodes.prompt import chat, lines_shown
from nodes.reasoner import ReasonerAnswer
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
from nodes.search_calls import REPLY_LEASE
from turnwise.calls import Asker, Call, Purpose, Role, Sampling

__all__ = [
    "ReplyAnswer",
    "ReplyingAnswer",
    "ThinkingAnswer",
    "ThinkingMaterial",
    "Thoughts",
    "think_at_once",
    "thinking_call",
]

NODES = {
    "detection": "detection",
    "monologue": "inner_monologue",
    "plan": "reasoner",
    "message": "lats_search",
}
"""The node that each part of the answer is for."""

THINKING_SAMPLING = Sampling(temperature=0.6, max_tokens=1300)
REPLYING_SAMPLING = Sampling(temperature=0.6, max_tokens=2300)


def _reply_text(text: str) -> str:
    cleaned = clean_text(text, MAX_REPLY_CHARS)
    if not cleaned:
        raise ValueError("must not be blank")
    return cleaned


def _bubble_texts(value: Any) -> list[str]:
    """Return bubbles as texts; what is none is left to the rules that cut a reply."""
    texts = value if isinstance(value, list | tuple) else ()
    cleaned = [clean_text(text, MAX_REPLY_CHARS) for text in texts if isinstance(text, str)]
    return [text for text in cleaned if text]


class ReplyAnswer(Answer):
    """The reply, and the same reply as chat bubbles. `reply` must say something."""

    reply: Annotated[str, AfterValidator(_reply_text)]
    bubbles: Annotated[list[str], BeforeValidator(_bubble_texts)] = Field(default_factory=list)

    @property
    def usable_bubbles(self) -> tuple[str, ...]:
        """The bubbles when they are few and join to the reply; none otherwise."""
        joins = "".join("".join(self.bubbles).split()) == "".join(self.reply.split())
        return tuple(self.bubbles) if joins and len(self.bubbles) <= MAX_BUBBLES else ()


class ThinkingAnswer(FusedAnswer):
    """What the model answers: the answers of three nodes."""

    detection: Annotated[DetectionAnswer | Unusable, part(DetectionAnswer)] = Missing
    monologue: Annotated[MonologueAnswer | Unusable, part(MonologueAnswer)] = Missing
    plan: Annotated[ReasonerAnswer | Unusable, part(ReasonerAnswer)] = Missing


class ReplyingAnswer(ThinkingAnswer):
    """The same, and the reply."""

    message: Annotated[ReplyAnswer | Unusable, part(ReplyAnswer)] = Missing


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
        plan: what the reply should reach.
        reply: the reply and its bubbles, where one was wanted.
        degradations: why parts, or all of them, have to be asked apart.
    """

    detection: Detection | None = None
    monologue: Monologue | None = None
    plan: ResponsePlan | None = None
    reply: ReplyAnswer | None = None
    degradations: Sequence[Degradation] = ()


def thinking_call(
    material: ThinkingMaterial, *, writes_reply: bool
) -> Call:
    """Return the fused call.

    Args:
        material: of this turn.
        writes_reply: whether it answers with the reply too. It draws on the reply's
            lease then: it is the call that the reply must have.
    """
    fields: dict[str, Any] = {
        "persona": material.persona,
        "chat": lines_shown(material.history, material.user_text),
        "summary": material.summary,
        "stage": material.relationship.stage,
        "relationship": relationship_phrase(material.relationship, material.language),
        "mood": mood_phrase(material.mood, material.language),
        "mode": material.mode,
    }
    if writes_reply:
        fields["memories"] = [memory.text for memory in material.memories]
        if material.style is not None:
            fields["task"] = {"style": style_phrase(material.style, material.language)}
    return Call(
        role=Role.MAIN,
        purpose=Purpose.FUSE,
        messages=chat(
            "fused_reply" if writes_reply else "fused_thinking", material.language, **fields
        ),
        response_model=ReplyingAnswer if writes_reply else ThinkingAnswer,
        sampling=REPLYING_SAMPLING if writes_reply else THINKING_SAMPLING,
        lease=REPLY_LEASE if writes_reply else None,
    )


async def think_at_once(
    asker: Asker, material: ThinkingMaterial, *, writes_reply: bool = False
) -> Thoughts:
    """Return what one fused call found, thought, planned and, if wanted, replied.

    Args:
        asker: who reaches the model.
        material: of this turn.
        writes_reply: whether it is asked for the reply too.

    Raises:
        CallError: a fatal one.
    """
    model = ReplyingAnswer if writes_reply else ThinkingAnswer
    call = thinking_call(material, writes_reply=writes_reply)
    fused, degradations = await ask_fused(asker, call, answer=model, nodes=NODES)
    if fused is None:
        return Thoughts(degradations=degradations)
    detection, monologue = usable(fused.detection), usable(fused.monologue)
    plan = usable(fused.plan)
    return Thoughts(
        detection=detection.record() if detection else None,
        monologue=monologue.record() if monologue else None,
        plan=plan.record() if plan else None,
        reply=usable(fused.message) if isinstance(fused, ReplyingAnswer) else None,
        degradations=degradations,
    )
