"""Methods of judging: the questions of a judge pass, and the scores of its answers.

A pass reads one reply once. `Pointwise` asks for a mark by criterion in one call; the value is
the mean of the marks. `Pairwise` compares the reply with a reference of its turn in two calls, one
for each order, because a judge favours the reply that is shown first (arXiv 2406.07791): a reply
that wins in both orders has 1, one that loses in both 0, and contradictory verdicts give a tie.
Both verdicts are kept, so their consistency can be counted.

Invariant: a pass gives scores only when all its calls were answered, since half a comparison
would measure the order. A repeated pass has its own sample index, so it is never the first
pass's answer again.

`plan_passes` gives the budget to passes in a fixed order, not to the call that asks first, so the
same replies are judged at any concurrency. Calls that were answered before, in this run or in the
recording, are free. Calls with one key are one call.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from callwise.calls.call import Call, Message, Purpose, Role, Sampling
from callwise.calls.client import Endpoint
from callwise.calls.key import CallKey
from callwise.safe_text import clipped
from callwise.tuning.judge.items import ReplyItem
from callwise.tuning.judge.referee_rubric import (
    MARK_HIGH,
    MARK_LOW,
    MAX_REPLY_CHARS,
    RefereeRubric,
    messages_of,
    shipped_rubric,
)
from callwise.tuning.judge.scores import Order, ScoreKind
from callwise.tuning.quality_unit import MARK_SCALE, WIN_SCALE
from callwise.tuning.row import reply_id

__all__ = [
    "ANSWER_TOKENS",
    "JudgeMethod",
    "JudgePass",
    "JudgeQuestion",
    "JudgingPlan",
    "Pairwise",
    "PlannedPass",
    "Pointwise",
    "PricePreview",
    "RefereeComparison",
    "SettledPass",
    "marks_model",
    "plan_passes",
]

ANSWER_TOKENS = 60
"""Output tokens of one answer as expected in a price: a short sentence and some marks. Assumed."""


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """One call of a pass, and the position of the judged reply in it."""

    call: Call
    order: Order = ""


@dataclass(frozen=True, slots=True)
class SettledPass:
    """The result of a pass that needs no call, such as one of an empty reply.

    Args:
        value: on the scale of the method; None when the reply cannot be judged by it.
    """

    value: float | None
    why: str


@dataclass(frozen=True, slots=True)
class JudgePass:
    """One pass of a referee over one reply.

    Args:
        repeat: the number of the pass over this reply. Starts at 0.
        against: id of the reply that it is compared with, or empty.
    """

    item: ReplyItem
    repeat: int
    against: str = ""
    questions: tuple[JudgeQuestion, ...] = ()
    settled: SettledPass | None = None


REFEREE_SAMPLING = Sampling(max_tokens=500)
"""Enough for a reason that is longer than was asked for. The temperature is the endpoint's."""


def _judge_call(messages: tuple[Message, ...], form: type[BaseModel], repeat: int) -> Call:
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.REFEREE,
        messages=messages,
        response_model=form,
        sampling=REFEREE_SAMPLING,
        sample=repeat,
        share=True,
        max_repairs=0,  # the referee repairs itself, within its own budget
    )


Mark = Annotated[
    float,
    Field(ge=MARK_LOW, le=MARK_HIGH),
    WithJsonSchema({"type": "integer", "minimum": MARK_LOW, "maximum": MARK_HIGH}),
]
"""Requested as a whole number; an answer of 7.5 is taken as 7.5."""


@lru_cache(maxsize=64)
def marks_model(criteria: tuple[str, ...]) -> type[BaseModel]:
    """Return the form of an answer with these criteria, each of them required."""
    # Requested first, so that the marks follow from it. Untrusted; not kept.
    fields: dict[str, Any] = {"reason": (str, "")}
    fields.update(dict.fromkeys(criteria, (Mark, ...)))
    return create_model(
        "RefereeMarks", __config__=ConfigDict(frozen=True, protected_namespaces=()), **fields
    )


@dataclass(frozen=True, slots=True)
class Pointwise:
    """Marks for one reply at a time."""

    repeats: int = 1
    rubric: RefereeRubric = field(default_factory=lambda: shipped_rubric("pointwise"))

    def __post_init__(self) -> None:
        """Raise `ValueError` for no repeats, or a rubric without criteria."""
        if self.repeats < 1:
            raise ValueError(f"repeats is at least 1, got {self.repeats}")
        if not self.rubric.criteria:
            raise ValueError(f"the rubric {self.rubric.name!r} has no criteria to mark")

    kind: ClassVar[ScoreKind] = "pointwise"
    scale: ClassVar[tuple[float, float]] = MARK_SCALE

    def passes(self, items: Sequence[ReplyItem]) -> list[JudgePass]:
        """Return every pass; an empty reply has the worst value without a call.

        The first pass is over each item, then the second over each, and so on, so a budget that
        ends early leaves out repeats before it leaves out replies.
        """
        blank = SettledPass(self.scale[0], "empty replies have the worst value, unasked")
        return [
            JudgePass(item, repeat, questions=(self._question(item, repeat),))
            if item.reply.strip()
            else JudgePass(item, repeat, settled=blank)
            for repeat in range(self.repeats)
            for item in items
        ]

    def value(self, answer: BaseModel, order: Order) -> float:  # noqa: ARG002 - one reply only
        """Return the mean of the marks."""
        return fmean(getattr(answer, name) for name in self.rubric.criteria)

    def _question(self, item: ReplyItem, repeat: int) -> JudgeQuestion:
        shown = messages_of(self.rubric, item, reply=clipped(item.reply, MAX_REPLY_CHARS))
        return JudgeQuestion(_judge_call(shown, marks_model(self.rubric.criteria), repeat))


LOSS, WIN = WIN_SCALE
TIE = (LOSS + WIN) / 2


class RefereeComparison(BaseModel):
    """The form of an answer."""

    model_config = ConfigDict(frozen=True)

    reason: str = ""
    """The deciding point. Untrusted; not kept."""

    winner: Literal["a", "b", "tie"]
    """The better one's id, or `tie`."""


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Every reply against one reference of its turn, such as the recorded reply."""

    references: Mapping[tuple[str, int], str]
    repeats: int = 1
    rubric: RefereeRubric = field(default_factory=lambda: shipped_rubric("pairwise"))

    def __post_init__(self) -> None:
        """Raise `ValueError` for no repeats."""
        if self.repeats < 1:
            raise ValueError(f"repeats is at least 1, got {self.repeats}")

    kind: ClassVar[ScoreKind] = "pairwise"
    scale: ClassVar[tuple[float, float]] = WIN_SCALE

    def passes(self, items: Sequence[ReplyItem]) -> list[JudgePass]:
        """Return every pass; a reply that is empty, or equal to the reference, needs no call."""
        return [self._pass(item, repeat) for repeat in range(self.repeats) for item in items]

    def value(self, answer: BaseModel, order: Order) -> float:
        """Return 1 for a win of the judged reply, 0.5 for a tie, 0 for a loss."""
        winner = answer.winner if isinstance(answer, RefereeComparison) else "tie"
        if winner == "tie":
            return TIE
        own = "a" if order == "first" else "b"
        return WIN if winner == own else LOSS

    def _pass(self, item: ReplyItem, repeat: int) -> JudgePass:
        reference = self.references.get((item.conversation, item.turn))
        if reference is None:
            return JudgePass(
                item, repeat, settled=SettledPass(None, "no reference reply on their turn")
            )
        against = reply_id(reference)
        settled = _settled(item.reply, reference)
        if settled is not None:
            return JudgePass(item, repeat, against, settled=settled)
        questions = (
            self._question(item, (item.reply, reference), repeat, "first"),
            self._question(item, (reference, item.reply), repeat, "second"),
        )
        return JudgePass(item, repeat, against, questions)

    def _question(
        self, item: ReplyItem, shown: tuple[str, str], repeat: int, order: Order
    ) -> JudgeQuestion:
        candidates: list[dict[str, Any]] = [
            {"id": label, "reply": clipped(text, MAX_REPLY_CHARS)}
            for label, text in zip(("a", "b"), shown, strict=True)
        ]
        messages = messages_of(self.rubric, item, candidates=candidates)
        return JudgeQuestion(_judge_call(messages, RefereeComparison, repeat), order)


def _settled(reply: str, reference: str) -> SettledPass | None:
    """Return the result of two replies that need no reading; None where they need it."""
    if reply == reference:
        return SettledPass(TIE, "replies equal to the reference tie with it, unasked")
    has_reply, has_reference = bool(reply.strip()), bool(reference.strip())
    if has_reply and has_reference:
        return None
    value = TIE if has_reply == has_reference else WIN if has_reply else LOSS
    return SettledPass(value, "an empty reply loses against any other, unasked")


JudgeMethod: TypeAlias = Pointwise | Pairwise
"""Has the `kind` and `scale` of its scores and its `rubric`, and gives passes and their values."""


@dataclass(frozen=True, slots=True)
class PlannedPass:
    """A pass and the keys of its questions, in order."""

    judge_pass: JudgePass
    keys: tuple[CallKey, ...]


@dataclass(frozen=True, slots=True)
class JudgingPlan:
    """The passes of a referee, and the calls that they need.

    Args:
        taken: passes that fit the budget, in order; settled ones too.
        to_buy: different calls of `taken` that have to be sent, in order.
    """

    taken: tuple[PlannedPass, ...]
    left_out: tuple[PlannedPass, ...]
    recorded_calls: int
    to_buy: tuple[Call, ...]

    @property
    def passes(self) -> tuple[JudgePass, ...]:
        """All passes, those that fit the budget first."""
        return tuple(each.judge_pass for each in (*self.taken, *self.left_out))

    def price(self, endpoint: Endpoint, input_tokens_of: Callable[[Call], int]) -> "PricePreview":
        """Return its price at an endpoint; `input_tokens_of` estimates a call's prompt."""
        input_tokens = sum(map(input_tokens_of, self.to_buy))
        output_tokens = ANSWER_TOKENS * len(self.to_buy)
        prices = endpoint.prices
        return PricePreview(
            replies=len({each.item.key for each in self.passes}),
            calls=self.recorded_calls + len(self.to_buy),
            recorded_calls=self.recorded_calls,
            bought_calls=len(self.to_buy),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            usd=None if prices is None else prices.usd(input_tokens, output_tokens),
            model=endpoint.model,
            is_simulated=endpoint.client.is_simulated,
        )


@dataclass(frozen=True, slots=True)
class PricePreview:
    """The price of judging, before anything is asked.

    Args:
        bought_calls: those that would be sent. Repairs of unreadable answers and retries
            come on top.
        output_tokens: the same for their answers; see `ANSWER_TOKENS`.
        usd: at the endpoint's prices; None when it has none. Unknown is not free.
    """

    replies: int
    calls: int
    recorded_calls: int
    bought_calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    model: str
    is_simulated: bool

    def sentence(self) -> str:
        """Return the price in one line."""
        usd = "USD unknown (no price list)" if self.usd is None else f"{self.usd:.4f} USD"
        model = f"{self.model}{' (simulated)' if self.is_simulated else ''}"
        return (
            f"{model} would judge {self.replies} replies with {self.bought_calls} calls to buy and "
            f"{self.recorded_calls} recorded: about {self.input_tokens} tokens in, "
            f"{self.output_tokens} out, {usd}"
        )


def plan_passes(
    passes: Iterable[JudgePass],
    *,
    key_of: Callable[[Call], CallKey],
    is_answered: Callable[[CallKey], bool],
    max_calls: int | None = None,
) -> JudgingPlan:
    """Return the passes that fit a budget.

    Args:
        max_calls: most calls to buy; None for all. After the first pass that does not fit, only
            passes that cost nothing are taken.
    """
    taken: list[PlannedPass] = []
    left_out: list[PlannedPass] = []
    recorded: set[CallKey] = set()
    bought: dict[CallKey, Call] = {}
    is_spent = False
    for each in passes:
        keys = tuple(key_of(question.call) for question in each.questions)
        calls = dict(zip(keys, (question.call for question in each.questions), strict=True))
        planned = PlannedPass(each, keys)
        price = {
            key: call for key, call in calls.items() if key not in bought and not is_answered(key)
        }
        is_spent |= max_calls is not None and len(bought) + len(price) > max_calls
        if price and is_spent:
            left_out.append(planned)
            continue
        taken.append(planned)
        bought.update(price)
        recorded.update(key for key in calls if key not in bought)
    return JudgingPlan(tuple(taken), tuple(left_out), len(recorded), tuple(bought.values()))
