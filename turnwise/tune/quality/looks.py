"""How a referee looks at a reply: the questions of one look, and what it makes of the answers.

A look has one call or several (a comparison has two, one an order), and gives scores only
when all of them were answered: half a comparison would be a verdict on the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from turnwise.calls.call import Call
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.rubric import Rubric
from turnwise.tune.quality.scores import Order, ScoreKind

__all__ = ["ANSWER_TOKENS", "Look", "Method", "Question", "Settled"]

ANSWER_TOKENS = 60
"""Output tokens of one answer as expected in a price: a short sentence and some marks. Assumed."""


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a look.

    Args:
        call: what is asked.
        order: where the judged reply stands in it.
    """

    call: Call
    order: Order = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """A look that needs no call, such as at an empty reply, or why there can be none.

    Args:
        value: what it comes to; None when the reply cannot be judged this way.
        why: in words, for the notices.
    """

    value: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one reply.

    Args:
        item: the reply.
        repeat: which look at it. Starts at 0.
        against: id of the reply that it is compared with, or empty.
        questions: its calls; none when it is settled.
        settled: what it comes to without a call.
    """

    item: ReplyItem
    repeat: int
    against: str = ""
    questions: tuple[Question, ...] = ()
    settled: Settled | None = None


class Method(Protocol):
    """A way to judge: one reply by itself, or two side by side."""

    @property
    def kind(self) -> ScoreKind:
        """What its scores are."""
        ...

    @property
    def scale(self) -> tuple[float, float]:
        """The worst and the best value."""
        ...

    @property
    def rubric(self) -> Rubric:
        """What the referee is told."""
        ...

    def looks(self, items: Sequence[ReplyItem]) -> list[Look]:
        """Return every look wanted: the first at each item, then the second at each, and on.

        A budget that ends early then leaves out repeats before it leaves out replies.
        """
        ...

    def value(self, answer: BaseModel, order: Order) -> float:
        """Return what one answer says of the judged reply, on the scale."""
        ...
