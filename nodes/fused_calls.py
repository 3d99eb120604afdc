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
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from callwise.calls import LLM, Purpose, Role, Sampling
from callwise.calls.structured import fitted, notes_of
from lats.answers import MAX_REPLY_CHARS, clean_text
from nodes.answer import AnswerForm, Text
from nodes.detection import DetectionAnswer, detect_by_rules
from nodes.evolver import EvolverAnswer, RelationshipDelta
from nodes.inner_monologue import MonologueAnswer, think_by_rules
from nodes.memory_manager import MemoryAnswer, MemoryUpdate
from nodes.phrases import style_phrase
from nodes.prompt import clip
from nodes.question import BOOKKEEPING_LEASE, MAX_DETAIL_CHARS, Question, Tokens
from nodes.reasoner import ReasonerAnswer, reason_by_rules
from nodes.records import (
    Degradation,
    Detection,
    Monologue,
    ResponsePlan,
)
from nodes.search.action_calls import REPLY_LEASE
from nodes.style import choose_style
from nodes.turn import TurnView

__all__ = [
    "FUSED_BOOKKEEPING",
    "FUSED_REPLY",
    "FUSED_THINKING",
    "Bookkeeping",
    "BookkeepingAnswer",
    "FusedAnswer",
    "Missing",
    "ReplyingAnswer",
    "Thinking",
    "ThinkingAnswer",
    "UnusablePart",
    "ask_fused",
    "ask_bookkeeping",
    "part",
    "ask_reply",
    "ask_thinking",
    "unusable_parts",
    "usable",
]

FormT = TypeVar("FormT", bound=BaseModel)
PartT = TypeVar("PartT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class UnusablePart:
    """What stands where a part should.

    Args:
        problem: why it cannot be used, in words.
    """

    problem: str


Missing = Field(default_factory=lambda: UnusablePart("it is missing"))
"""The default of every part. The schema that is sent still requires each."""


def part(model: type[BaseModel]) -> PlainValidator:
    """Return what reads a part as its node's answer model, or says why it cannot be used.

    Args:
        model: the node's own answer model; the schema of the fused answer names it.
    """

    def read(value: Any, info: ValidationInfo) -> BaseModel | UnusablePart:
        notes: list[str] = []
        try:
            return fitted(value, model, notes)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            lines = (
                f"{'.'.join(map(str, problem['loc'])) or 'it'}: {problem['msg']}"
                for problem in problems
            )
            return UnusablePart("; ".join(lines))
        finally:
            notes_of(info).extend(f"{note} of {info.field_name}" for note in notes)

    return PlainValidator(read, json_schema_input_type=model)


def _requires_all(schema: dict[str, Any]) -> None:
    schema["required"] = list(schema["properties"])


class FusedAnswer(AnswerForm):
    """Base of the fused answers. At least one part must be usable."""

    model_config = ConfigDict(json_schema_extra=_requires_all)

    @model_validator(mode="after")
    def _has_a_usable_part(self) -> "FusedAnswer":
        problems = unusable_parts(self)
        if len(problems) == len(type(self).model_fields):
            raise ValueError("; ".join(f"{name}: {why}" for name, why in problems.items()))
        return self


def unusable_parts(answer: FusedAnswer) -> dict[str, str]:
    """Return the parts that cannot be used, and why; empty when all can."""
    return {name: value.problem for name, value in answer if isinstance(value, UnusablePart)}


def usable(value: PartT | UnusablePart) -> PartT | None:
    """Return a part, or None where it cannot be used."""
    return None if isinstance(value, UnusablePart) else value


async def ask_fused(
    llm: LLM, question: Question[FormT, FormT | None], view: TurnView
) -> tuple[FormT | None, Sequence[Degradation]]:
    """Return the answer to a fused question, or None, and what has to be asked apart.

    Returns:
        The answer and one degradation for each part that cannot be used; or None and one
        for the whole, under the node that asked.

    Raises:
        CallError: a fatal one.
    """
    fused, whole = await question.ask(llm, view)
    if fused is None:
        return None, [] if whole is None else [_apart(whole, "no fused answer")]
    if not isinstance(fused, FusedAnswer):
        return fused, []
    nodes = dict(zip(type(fused).model_fields, question.speaks_for, strict=True))
    return fused, [
        _apart(Degradation(node=nodes[name], reason="invalid", detail=why), f"fused part {name!r}")
        for name, why in unusable_parts(fused).items()
    ]


def _apart(degradation: Degradation, what: str) -> Degradation:
    detail = clip(f"{what}, asked apart: {degradation.detail}", MAX_DETAIL_CHARS)
    return degradation.model_copy(update={"detail": detail})


def _reply_text(text: str) -> str:
    cleaned = clean_text(text, MAX_REPLY_CHARS)
    if not cleaned:
        raise ValueError("must not be blank")
    return cleaned


class ThinkingAnswer(FusedAnswer):
    """What the model answers: the answers of three nodes."""

    detection: Annotated[DetectionAnswer | UnusablePart, part(DetectionAnswer)] = Missing
    monologue: Annotated[MonologueAnswer | UnusablePart, part(MonologueAnswer)] = Missing
    plan: Annotated[ReasonerAnswer | UnusablePart, part(ReasonerAnswer)] = Missing


class ReplyingAnswer(AnswerForm):
    """What the model answers when it replies at once. `reply` must say something."""

    thought: Text = ""
    reply: Annotated[str, Field(min_length=1), AfterValidator(_reply_text)]


@dataclass(frozen=True, slots=True)
class Thinking:
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


async def ask_thinking(llm: LLM, view: TurnView) -> Thinking:
    """Return what one fused call found, thought and planned.

    Raises:
        CallError: a fatal one.
    """
    fused, degradations = await ask_fused(llm, FUSED_THINKING, view)
    if fused is None:
        return Thinking(degradations=degradations)
    found, monologue = usable(fused.detection), usable(fused.monologue)
    plan = usable(fused.plan)
    detection = found.record() if found else None
    by_rules = reason_by_rules(
        view.user_text,
        detection or detect_by_rules(view.user_text, view.language),
        view.mode,
        view.language,
    )
    return Thinking(
        detection=detection,
        monologue=monologue.record() if monologue else None,
        plan=plan.record(by_rules) if plan else None,
        degradations=degradations,
    )


async def ask_reply(llm: LLM, view: TurnView) -> Thinking:
    """Return the reply that one call wrote, and what rules find, feel and plan around it.

    Raises:
        CallError: a fatal one.
    """
    answer, degradations = await ask_fused(llm, FUSED_REPLY, view)
    if answer is None:
        return Thinking(degradations=degradations)
    detection = detect_by_rules(view.user_text, view.language)
    monologue = think_by_rules(detection, view.mode, view.language)
    if answer.thought:
        monologue = monologue.model_copy(update={"thought": answer.thought})
    return Thinking(
        detection=detection, monologue=monologue, plan=ResponsePlan(), reply=answer.reply
    )


class BookkeepingAnswer(FusedAnswer):
    """What the model answers: the answers of two nodes."""

    movement: Annotated[EvolverAnswer | UnusablePart, part(EvolverAnswer)] = Missing
    memory: Annotated[MemoryAnswer | UnusablePart, part(MemoryAnswer)] = Missing


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """What came of a fused call. None is what has to be asked apart.

    Args:
        delta: how the turn moved the relationship.
        memory: what memory gains from it.
        degradations: why a part, or both, have to be asked apart.
    """

    delta: RelationshipDelta | None = None
    memory: MemoryUpdate | None = None
    degradations: Sequence[Degradation] = ()


FUSED_BOOKKEEPING: Question[BookkeepingAnswer, BookkeepingAnswer | None] = Question(
    node="evolver",
    role=Role.FAST,
    purpose=Purpose.FUSE,
    prompt="fused_bookkeeping",
    answer=BookkeepingAnswer,
    fields=("persona", "chat", "stage", "relationship", "detection"),
    sampling=Sampling(temperature=0.0, max_tokens=1200),
    tokens=Tokens(1300, 280),
    convert=lambda answer, _view: answer,
    fallback=lambda _view: None,
    asked=lambda view: {"summary": view.summary},
    lease=BOOKKEEPING_LEASE,
    speaks_for=("evolver", "memory_manager"),
)


async def ask_bookkeeping(llm: LLM, view: TurnView) -> Bookkeeping:
    """Return how one fused call judged the turn and what it noted of it.

    Raises:
        CallError: a fatal one.
    """
    fused, degradations = await ask_fused(llm, FUSED_BOOKKEEPING, view)
    if fused is None:
        return Bookkeeping(degradations=degradations)
    movement, memory = usable(fused.movement), usable(fused.memory)
    return Bookkeeping(
        delta=movement.record() if movement else None,
        memory=memory.update(view) if memory else None,
        degradations=degradations,
    )
