"""The passes that a referee takes, and their price, before anything is asked.

Invariant: the budget is given to passes in a fixed order, not to the call that asks first, so the
same replies are judged at any concurrency. Calls that were answered before, in this run or in the
recording, are free. Calls with one key are one call.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from callwise.calls.call import Call
from callwise.calls.client import Endpoint
from callwise.calls.key import CallKey
from callwise.tuning.judge.methods import ANSWER_TOKENS, JudgePass

__all__ = ["JudgingPlan", "PlannedPass", "PricePreview", "plan_passes", "preview_of"]


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


def preview_of(
    plan: JudgingPlan, endpoint: Endpoint, input_tokens_of: Callable[[Call], int]
) -> PricePreview:
    """Return the price of a plan at an endpoint; `input_tokens_of` estimates a call's prompt."""
    input_tokens = sum(map(input_tokens_of, plan.to_buy))
    bought_calls = len(plan.to_buy)
    output_tokens = ANSWER_TOKENS * bought_calls
    prices = endpoint.prices
    return PricePreview(
        replies=len({each.judge_pass.item.key for each in (*plan.taken, *plan.left_out)}),
        calls=plan.recorded_calls + bought_calls,
        recorded_calls=plan.recorded_calls,
        bought_calls=bought_calls,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        usd=None if prices is None else prices.usd(input_tokens, output_tokens),
        model=endpoint.model,
        is_simulated=endpoint.client.is_simulated,
    )
