"""Two replies to one turn, side by side, in both orders.

A judge favours what stands first, systematically (arXiv 2406.07791), so each comparison is
made twice, with the places changed. A reply that wins both ways has 1, one that loses both
ways 0; two verdicts that contradict each other come to a tie, and stand in the table as
they are, so that anybody can count how often that was.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from turnwise.calls.call import Call, Role
from turnwise.tune.quality.items import ReplyItem
from turnwise.tune.quality.looks import Look, Question, Settled
from turnwise.tune.quality.pointwise import (
    REFEREE_PURPOSE,
    REFEREE_SAMPLING,
)
from turnwise.tune.quality.prompting import MAX_REPLY_CHARS, clipped, messages_of
from turnwise.tune.quality.rubric import Rubric, shipped_rubric
from turnwise.tune.quality.scores import Order, Score, ScoreKind, reply_id

__all__ = ["Pairwise", "RefereeComparison", "order_consistency"]

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
