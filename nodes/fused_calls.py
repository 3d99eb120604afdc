"""Fused calls: the answers of several nodes in one call, or one call that replies.

| question | role | purpose | temperature | max_tokens | asked by |
|---|---|---|---|---|---|
| `FUSED_THINKING` | main | fuse | 0.6 | 1300 | detection |
| `FUSED_REPLY` | main | fuse | 0.6 | 1000 | detection |
| `FUSED_BOOKKEEPING` | fast | fuse | 0 | 1200 | evolver |

Departure from the serial pipeline: mode and mood follow by rule from what detection and
monologue find, so a fused prompt cannot see this turn's. It sees both as they were
before the turn; the one that replies sees the style that follows from them. The rules
run after it, on the parts of its answer, as they always do.

The call that replies asks for nothing that the reply does not need: a thought and the
reply. The message is detected by rules, there is no plan, and bubbles are cut by rule.

A part that cannot be used is left to its own node, which asks its own question; so are
all of them when there is no answer at all. Without a usable reply the search runs.

A fused prompt shows every field that the questions it speaks for show, without those that the
call itself answers. A field that is added to one of them is in the fused prompt too.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

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
from nodes.detection import DETECTION, DetectionAnswer, detect_by_rules
from nodes.evolver import EVOLVING, EvolverAnswer
from nodes.inner_monologue import MONOLOGUE, MonologueAnswer, think_by_rules
from nodes.memory_manager import REMEMBERING, MemoryAnswer
from nodes.prompt import clip
from nodes.question import (
    BOOKKEEPING_LEASE,
    MAX_DETAIL_CHARS,
    AnswerForm,
    AnswerT,
    Question,
    Text,
    Tokens,
)
from nodes.reasoner import REASONING, ReasonerAnswer, reason_by_rules
from nodes.records import Degradation, Detection, ResponsePlan
from nodes.search.action_calls import REPLY_LEASE
from nodes.style import choose_style
from nodes.turn import PROMPT_FIELDS, TurnView, phrase_of

__all__ = [
    "FUSED_BOOKKEEPING",
    "FUSED_REPLY",
    "FUSED_THINKING",
    "BookkeepingAnswer",
    "Fused",
    "FusedAnswer",
    "Missing",
    "ReplyingAnswer",
    "ThinkingAnswer",
    "UnusablePart",
    "ask_fused",
    "part",
    "unusable_parts",
    "usable",
]

PartT = TypeVar("PartT", bound=BaseModel)


class UnusablePart(NamedTuple):
    """The value of a part that cannot be used."""

    problem: str


Missing = Field(default_factory=lambda: UnusablePart("it is missing"))
"""The default of every part. The schema that is sent still requires each."""


def part(model: type[BaseModel]) -> PlainValidator:
    """Return a validator that reads a part as its node's answer, or as an `UnusablePart`.

    Args:
        model: the node's own answer form; the schema of the fused answer names it.
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


def unusable_parts(answer: AnswerForm) -> dict[str, str]:
    """Return the parts that cannot be used, and why; empty when all can."""
    return {name: value.problem for name, value in answer if isinstance(value, UnusablePart)}


def usable(value: PartT | UnusablePart) -> PartT | None:
    """Return a part, or None where it cannot be used."""
    return None if isinstance(value, UnusablePart) else value


class Fused(NamedTuple):
    """A fused answer as the nodes read it: records by node, and problems by part."""

    records: Mapping[str, Any]
    problems: Mapping[str, str]


def _fused(answer: AnswerForm, **records: Any) -> Fused:
    kept = {node: record for node, record in records.items() if record is not None}
    return Fused(kept, unusable_parts(answer))


async def ask_fused(
    llm: LLM, question: Question[AnswerT, Fused | None], view: TurnView
) -> tuple[Mapping[str, Any], Sequence[Degradation]]:
    """Return the answers to a fused question by node, and why the others are asked apart.

    Returns:
        The usable answers, as the records of their nodes; and one degradation for each part that
        cannot be used, or one for the whole, under the node that asked.

    Raises:
        CallError: a fatal one.
    """
    fused, whole = await question.ask(llm, view)
    if fused is None:
        return {}, [] if whole is None else [_apart(whole, "no fused answer")]
    nodes = dict(zip(question.answer.model_fields, question.speaks_for, strict=False))
    return fused.records, [
        _apart(Degradation(node=nodes[name], reason="invalid", detail=why), f"fused part {name!r}")
        for name, why in fused.problems.items()
    ]


def _apart(degradation: Degradation, subject: str) -> Degradation:
    detail = clip(f"{subject}, asked apart: {degradation.detail}", MAX_DETAIL_CHARS)
    return degradation.model_copy(update={"detail": detail})


def _fields_of(*questions: Question[Any, Any], without: Collection[str] = ()) -> tuple[str, ...]:
    """Return the prompt fields that any of the questions shows, in the prompt's order.

    Args:
        without: names of fields that the fused call itself answers.
    """
    shown = {name for question in questions for name in question.fields}
    return tuple(name for name in PROMPT_FIELDS if name in shown and name not in without)


class ThinkingAnswer(FusedAnswer):
    """The model's answer: the answers of three nodes."""

    detection: Annotated[DetectionAnswer | UnusablePart, part(DetectionAnswer)] = Missing
    monologue: Annotated[MonologueAnswer | UnusablePart, part(MonologueAnswer)] = Missing
    plan: Annotated[ReasonerAnswer | UnusablePart, part(ReasonerAnswer)] = Missing


def _thoughts(answer: ThinkingAnswer, view: TurnView) -> Fused:
    found, monologue = usable(answer.detection), usable(answer.monologue)
    plan = usable(answer.plan)
    detection = found.record() if found else None
    seen = detection or detect_by_rules(view.user_text, view.language)
    by_rules = reason_by_rules(view.user_text, seen, view.mode, view.language)
    return _fused(
        answer,
        detection=detection,
        inner_monologue=monologue.record() if monologue else None,
        reasoner=plan.record(by_rules) if plan else None,
    )


_THINKING_FIELDS = _fields_of(DETECTION, MONOLOGUE, REASONING, without=ThinkingAnswer.model_fields)

FUSED_THINKING: Question[ThinkingAnswer, Fused | None] = Question(
    node="detection",
    role=Role.MAIN,
    purpose=Purpose.FUSE,
    prompt="fused_thinking",
    answer=ThinkingAnswer,
    fields=_THINKING_FIELDS,
    sampling=Sampling(temperature=0.6, max_tokens=1300),
    tokens=Tokens(1550, 370),
    convert=_thoughts,
    fallback=lambda _view: None,
    speaks_for=("detection", "inner_monologue", "reasoner"),
)


def _reply_text(text: str) -> str:
    cleaned = clean_text(text, MAX_REPLY_CHARS)
    if not cleaned:
        raise ValueError("must not be blank")
    return cleaned


class ReplyingAnswer(AnswerForm):
    """The answer of the call that replies."""

    thought: Text = ""
    reply: Annotated[str, Field(min_length=1), AfterValidator(_reply_text)]


def _replied(answer: ReplyingAnswer, view: TurnView) -> Fused:
    """Return the reply, and what rules find, feel and plan around it."""
    detection = detect_by_rules(view.user_text, view.language)
    monologue = think_by_rules(detection, view.mode, view.language)
    if answer.thought:
        monologue = monologue.model_copy(update={"thought": answer.thought})
    return _fused(
        answer,
        detection=detection,
        inner_monologue=monologue,
        reasoner=ResponsePlan(),
        lats_search=answer.reply,
    )


def _style_before(view: TurnView) -> str:
    """Return the style that follows from mood and mode before the turn, as a phrase.

    What would change them is found by this call only.
    """
    style = choose_style(view.relationship, view.mood, view.mode, Detection())
    return phrase_of("style", style, view.language)


FUSED_REPLY: Question[ReplyingAnswer, Fused | None] = Question(
    node="detection",
    role=Role.MAIN,
    purpose=Purpose.FUSE,
    prompt="fused_reply",
    answer=ReplyingAnswer,
    # Memories are retrieved before this call; they may not be there yet for the other one.
    fields=(*_THINKING_FIELDS, "memories"),
    sampling=Sampling(temperature=0.6, max_tokens=1000),
    tokens=Tokens(800, 200),
    convert=_replied,
    fallback=lambda _view: None,
    asked=lambda view: {"task": {"style": _style_before(view)}},
    lease=REPLY_LEASE,
    speaks_for=("detection", "inner_monologue", "reasoner", "lats_search"),
)


class BookkeepingAnswer(FusedAnswer):
    """The model's answer: the answers of two nodes."""

    movement: Annotated[EvolverAnswer | UnusablePart, part(EvolverAnswer)] = Missing
    memory: Annotated[MemoryAnswer | UnusablePart, part(MemoryAnswer)] = Missing


def _kept(answer: BookkeepingAnswer, view: TurnView) -> Fused:
    movement, memory = usable(answer.movement), usable(answer.memory)
    return _fused(
        answer,
        evolver=movement.record() if movement else None,
        memory_manager=memory.update(view) if memory else None,
    )


FUSED_BOOKKEEPING: Question[BookkeepingAnswer, Fused | None] = Question(
    node="evolver",
    role=Role.FAST,
    purpose=Purpose.FUSE,
    prompt="fused_bookkeeping",
    answer=BookkeepingAnswer,
    fields=_fields_of(EVOLVING, REMEMBERING),
    sampling=Sampling(temperature=0.0, max_tokens=1200),
    tokens=Tokens(1300, 280),
    convert=_kept,
    fallback=lambda _view: None,
    asked=REMEMBERING.asked,
    lease=BOOKKEEPING_LEASE,
    speaks_for=("evolver", "memory_manager"),
)
