"""Parts of a fused answer: several nodes' answers in one, each usable or not by itself.

A fused call asks for what several nodes would ask one by one. Its answer holds each
node's own answer model as a field, so what fits there fits here. A part that does not
fit spoils neither the others nor the call: it is an `Unusable`, and its node asks its
own question. Only an answer without any usable part is no answer, and is asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from nodes.answer import Answer
from nodes.degrade import MAX_DETAIL_CHARS
from nodes.prompt import clip
from nodes.question import Question
from nodes.records import Degradation
from nodes.turn import TurnView
from turnwise.calls import Asker
from turnwise.calls.structured import fitted, notes_of

__all__ = [
    "FusedAnswer",
    "Missing",
    "Unusable",
    "ask_fused",
    "part",
    "unusable_parts",
    "usable",
]

FormT = TypeVar("FormT", bound=BaseModel)
PartT = TypeVar("PartT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Unusable:
    """What stands where a part should.

    Args:
        problem: why it cannot be used, in words.
    """

    problem: str


Missing = Field(default_factory=lambda: Unusable("it is missing"))
"""The default of every part. The schema that is sent still requires each."""


def part(model: type[BaseModel]) -> PlainValidator:
    """Return what reads a part as its node's answer model, or says why it cannot be used.

    Args:
        model: the node's own answer model; the schema of the fused answer names it.
    """

    def read(value: Any, info: ValidationInfo) -> BaseModel | Unusable:
        notes: list[str] = []
        try:
            return fitted(value, model, notes)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            lines = (
                f"{'.'.join(map(str, problem['loc'])) or 'it'}: {problem['msg']}"
                for problem in problems
            )
            return Unusable("; ".join(lines))
        finally:
            notes_of(info).extend(f"{note} of {info.field_name}" for note in notes)

    return PlainValidator(read, json_schema_input_type=model)


def _requires_all(schema: dict[str, Any]) -> None:
    schema["required"] = list(schema["properties"])


class FusedAnswer(Answer):
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
    return {name: value.problem for name, value in answer if isinstance(value, Unusable)}


def usable(value: PartT | Unusable) -> PartT | None:
    """Return a part, or None where it cannot be used."""
    return None if isinstance(value, Unusable) else value


async def ask_fused(
    asker: Asker, question: Question[FormT, FormT | None], view: TurnView
) -> tuple[FormT | None, Sequence[Degradation]]:
    """Return the answer to a fused question, or None, and what has to be asked apart.

    Returns:
        The answer and one degradation for each part that cannot be used; or None and one
        for the whole, under the node that asked.

    Raises:
        CallError: a fatal one.
    """
    fused, whole = await question.ask(asker, view)
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
