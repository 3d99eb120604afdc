"""Methods of judging: the questions of a judge pass, and the scores of its answers.

A pass reads one reply once. `Pointwise` asks for a mark by criterion in one call; the value is
the mean of the marks. `Pairwise` compares the reply with a reference of its turn in two calls, one
for each order, because a judge favours the reply that is shown first (arXiv 2406.07791): a reply
that wins in both orders has 1, one that loses in both 0, and contradictory verdicts give a tie.
Both verdicts are kept, so their consistency can be counted.

Invariant: a pass gives scores only when all its calls were answered, since half a comparison
would measure the order. A repeated pass has its own sample index, so it is never the first
pass's answer again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from turnwise.calls.call import Call, Sampling
from turnwise.calls.vocabulary import Purpose, Role
from turnwise.tune.judge.items import ReplyItem
from turnwise.tune.judge.referee_rubric import (
    MARK_HIGH,
    MARK_LOW,
    MAX_REPLY_CHARS,
    Rubric,
    clipped,
    messages_of,
    shipped_rubric,
)
from turnwise.tune.judge.scores import Order, Score, ScoreKind, reply_id

__all__ = [
    "ANSWER_TOKENS",
    "REFEREE_PURPOSE",
    "REFEREE_SAMPLING",
    "Look",
    "Method",
    "Pairwise",
    "Pointwise",
    "Question",
    "RefereeComparison",
    "Settled",
    "marks_model",
    "order_consistency",
]

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


WIN, TIE, LOSS = 1.0, 0.5, 0.0


class RefereeComparison(BaseModel):
    """The form of an answer."""

    model_config = ConfigDict(frozen=True)

    reason: str = ""
    """What decides. Untrusted; not kept."""

    winner: Literal["a", "b", "tie"]
    """The better one's id, or `tie`."""


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Every reply against one reference of its turn, such as the recorded reply.

    Args:
        references: the reference's text by conversation and turn.
        repeats: comparisons of each reply, of two calls each; at least 1.
        rubric: what the referee is told.
    """

    references: Mapping[tuple[str, int], str]
    repeats: int = 1
    rubric: Rubric = field(default_factory=lambda: shipped_rubric("pairwise"))

    def __post_init__(self) -> None:
        """Refuse a method that asks nothing.

        Raises:
            ValueError: for no repeats.
        """
        if self.repeats < 1:
            raise ValueError(f"repeats is at least 1, got {self.repeats}")

    @property
    def kind(self) -> ScoreKind:
        """What its scores are."""
        return "pairwise"

    @property
    def scale(self) -> tuple[float, float]:
        """A loss and a win; a tie is in the middle."""
        return LOSS, WIN

    def looks(self, items: Sequence[ReplyItem]) -> list[Look]:
        """Return every look; what is equal to the reference, or empty, is settled unasked."""
        return [self._look(item, repeat) for repeat in range(self.repeats) for item in items]

    def value(self, answer: BaseModel, order: Order) -> float:
        """Return 1 for a win of the judged reply, 0.5 for a tie, 0 for a loss."""
        winner = answer.winner if isinstance(answer, RefereeComparison) else "tie"
        if winner == "tie":
            return TIE
        own = "a" if order == "first" else "b"
        return WIN if winner == own else LOSS

    def _look(self, item: ReplyItem, repeat: int) -> Look:
        reference = self.references.get((item.conversation, item.turn))
        if reference is None:
            return Look(item, repeat, settled=Settled(None, "no reference reply on their turn"))
        against = reply_id(reference)
        settled = _settled(item.reply, reference)
        if settled is not None:
            return Look(item, repeat, against, settled=settled)
        questions = (
            self._question(item, (item.reply, reference), repeat, "first"),
            self._question(item, (reference, item.reply), repeat, "second"),
        )
        return Look(item, repeat, against, questions)

    def _question(
        self, item: ReplyItem, shown: tuple[str, str], repeat: int, order: Order
    ) -> Question:
        candidates: list[dict[str, Any]] = [
            {"id": label, "reply": clipped(text, MAX_REPLY_CHARS)}
            for label, text in zip(("a", "b"), shown, strict=True)
        ]
        call = Call(
            role=Role.JUDGE,
            purpose=REFEREE_PURPOSE,
            messages=messages_of(self.rubric, item, candidates=candidates),
            response_model=RefereeComparison,
            sampling=REFEREE_SAMPLING,
            sample=repeat,
            share=True,
            max_repairs=0,  # the referee repairs itself, within its own budget
        )
        return Question(call, order)


def _settled(reply: str, reference: str) -> Settled | None:
    """Return what two replies come to when nobody needs to read them."""
    if reply == reference:
        return Settled(TIE, "replies equal to the reference tie with it, unasked")
    has_reply, has_reference = bool(reply.strip()), bool(reference.strip())
    if has_reply and has_reference:
        return None
    value = TIE if has_reply == has_reference else WIN if has_reply else LOSS
    return Settled(value, "an empty reply loses against any other, unasked")


def order_consistency(scores: Iterable[Score]) -> float | None:
    """Return the share of comparisons whose two orders agree; None when there are none.

    Args:
        scores: of any kind; those without an order are passed over.

    Returns:
        In [0, 1]. Two ties agree; a tie and a win do not.
    """
    values: defaultdict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for score in scores:
        if score.order:
            pair = (score.by, *score.reply_key, score.against, score.repeat)
            values[pair][score.order] = score.value
    both = [found for found in values.values() if len(found) == 2]
    if not both:
        return None
    return sum(found["first"] == found["second"] for found in both) / len(both)
