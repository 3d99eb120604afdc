"""Marks for one reply: each criterion of a rubric from 1 to 10, all in one call.

The value of a look is the mean of its marks; looks are repeated with sample indexes of
their own, so a repeat is a new look and never the first one again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from turnwise.calls.call import Call, Purpose, Role, Sampling
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.looks import Look, Question, Settled
from turnwise.tune.quality.prompting import MAX_REPLY_CHARS, clipped, messages_of
from turnwise.tune.quality.rubric import MARK_HIGH, MARK_LOW, Rubric, shipped_rubric
from turnwise.tune.quality.scores import Order, ScoreKind

__all__ = [
    "REFEREE_PURPOSE",
    "REFEREE_SAMPLING",
    "Pointwise",
    "marks_model",
]

REFEREE_PURPOSE = Purpose.REFEREE
"""What a referee's calls are for. They stand in a ledger of their own."""

REFEREE_SAMPLING = Sampling(max_tokens=500)
"""Room for a reason that is longer than was asked for. Temperature is the endpoint's own."""


Mark = Annotated[
    float,
    Field(ge=MARK_LOW, le=MARK_HIGH),
    WithJsonSchema({"type": "integer", "minimum": MARK_LOW, "maximum": MARK_HIGH}),
]
"""Asked for as a whole number; a referee that answers 7.5 means 7.5."""


@lru_cache(maxsize=64)
def marks_model(criteria: tuple[str, ...]) -> type[BaseModel]:
    """Return the form of an answer with these criteria, each of them required."""
    # Asked for so that the marks follow from it. Untrusted; not kept.
    fields: dict[str, Any] = {"reason": (str, "")}
    fields.update(dict.fromkeys(criteria, (Mark, ...)))
    return create_model(
        "RefereeMarks", __config__=ConfigDict(frozen=True, protected_namespaces=()), **fields
    )


@dataclass(frozen=True, slots=True)
class Pointwise:
    """Marks for one reply at a time.

    Args:
        repeats: looks at each reply; at least 1.
        rubric: what the referee is told.
    """

    repeats: int = 1
    rubric: Rubric = field(default_factory=lambda: shipped_rubric("pointwise"))

    def __post_init__(self) -> None:
        """Refuse a method that asks nothing.

        Raises:
            ValueError: for no repeats, or a rubric without criteria.
        """
        if self.repeats < 1:
            raise ValueError(f"repeats is at least 1, got {self.repeats}")
        if not self.rubric.criteria:
            raise ValueError(f"the rubric {self.rubric.name!r} has no criteria to mark")

    @property
    def kind(self) -> ScoreKind:
        """What its scores are."""
        return "pointwise"

    @property
    def scale(self) -> tuple[float, float]:
        """The scale of the marks, which their mean keeps."""
        return float(MARK_LOW), float(MARK_HIGH)

    def looks(self, items: Sequence[ReplyItem]) -> list[Look]:
        """Return every look; an empty reply has the worst value, and nobody is asked."""
        blank = Settled(self.scale[0], "empty replies have the worst value, unasked")
        return [
            Look(item, repeat, questions=(self._question(item, repeat),))
            if item.reply.strip()
            else Look(item, repeat, settled=blank)
            for repeat in range(self.repeats)
            for item in items
        ]

    def value(self, answer: BaseModel, order: Order) -> float:  # noqa: ARG002 - one reply only
        """Return the mean of the marks."""
        return fmean(getattr(answer, name) for name in self.rubric.criteria)

    def _question(self, item: ReplyItem, repeat: int) -> Question:
        call = Call(
            role=Role.JUDGE,
            purpose=REFEREE_PURPOSE,
            messages=messages_of(self.rubric, item, reply=clipped(item.reply, MAX_REPLY_CHARS)),
            response_model=marks_model(self.rubric.criteria),
            sampling=REFEREE_SAMPLING,
            sample=repeat,
            share=True,
            max_repairs=0,  # the referee repairs itself, within its own budget
        )
        return Question(call)
