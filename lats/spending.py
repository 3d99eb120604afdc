"""Tokens and USD of a search's calls: what they took, and how many more the limits allow.

A call's price is known after it only. Until then it is taken to cost what calls of its side have
cost on average; the first call of a side goes alone. So a search passes its limits by that
first call, or by what calls cost more than those before them.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from lats.actions import Side
from lats.policy import UNLIMITED, RemainingCalls

__all__ = ["PICODOLLARS", "Priced", "Spend", "SpendLimits", "least_remaining"]

PICODOLLARS = 10**12
"""Of one USD. Sums of whole numbers are the same in any order."""

MAX_AMOUNT = 10**12
"""Most tokens, USD or calls of one call."""

ResultT = TypeVar("ResultT")
_Amount = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Priced(Generic[ResultT]):
    """A result of `propose` or `judge`, and what it took.

    Args:
        result: what the function would return by itself.
        tokens: input and output together; at least 0.
        usd: at least 0.
        calls: requests that it took, repairs and retries included; at least 1. They count
            against the cap.

    Raises:
        ValueError: when an amount is out of its range.
    """

    result: ResultT
    tokens: int = 0
    usd: float = 0.0
    calls: int = 1

    def __post_init__(self) -> None:
        """Check the amounts."""
        for name, least in (("tokens", 0), ("usd", 0), ("calls", 1)):
            amount = getattr(self, name)
            if not isinstance(amount, int | float) or not least <= amount <= MAX_AMOUNT:
                raise ValueError(
                    f"Priced: {name} is {amount!r}; give a number from {least} to {MAX_AMOUNT}"
                )
            if name != "usd" and amount != int(amount):
                raise ValueError(f"Priced: {name} is {amount!r}; give a whole number")


@dataclass(slots=True)
class _SideSpend:
    """Amounts that the calls of one side took, and how many calls those were."""

    calls: _Amount = 0
    tokens: _Amount = 0
    picodollars: _Amount = 0


@dataclass(slots=True)
class Spend:
    """Amounts that a search's calls took, by side; sides without a priced call are absent."""

    by_side: dict[Side, _SideSpend] = field(default_factory=dict)

    def add(self, side: Side, priced: Priced[object]) -> None:
        """Add what a call took."""
        spent = self.by_side.setdefault(side, _SideSpend())
        spent.calls += int(priced.calls)
        spent.tokens += int(priced.tokens)
        spent.picodollars += round(priced.usd * PICODOLLARS)

    @property
    def tokens(self) -> int:
        """Tokens of all calls."""
        return sum(spent.tokens for spent in self.by_side.values())

    @property
    def picodollars(self) -> int:
        """Price of all calls."""
        return sum(spent.picodollars for spent in self.by_side.values())

    @property
    def usd(self) -> float:
        """USD of all calls."""
        return self.picodollars / PICODOLLARS


@dataclass(frozen=True, slots=True)
class SpendLimits:
    """Limits of a search in tokens and USD, earlier parts of a resumed one included.

    Args:
        max_tokens: None for no limit.
        max_usd: None for no limit.

    Raises:
        ValueError: when one is negative or not finite.
    """

    max_tokens: int | None = None
    max_usd: float | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("max_tokens", "max_usd"):
            limit = getattr(self, name)
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if limit is not None and not (is_number and 0 <= limit < math.inf):
                raise ValueError(f"{name} is {limit!r}; give a number from 0 on, or None")

    def tighter_than(self, calls: int, spend: Spend) -> tuple[str, ...]:
        """Return the names of the limits that leave fewer calls of a kind than these."""
        alone = {
            "max_tokens": SpendLimits(max_tokens=self.max_tokens),
            "max_usd": SpendLimits(max_usd=self.max_usd),
        }
        left = {name: limit.remaining(spend) for name, limit in alone.items()}
        return tuple(
            name
            for name, each in left.items()
            if not (each.fits(proposer=calls) and each.fits(judge=calls))
        )

    def remaining(self, spend: Spend, *, is_judged: bool = False) -> RemainingCalls:
        """Return the calls that still fit, at the mean price of each side's calls so far.

        Of a side without a priced call nothing is known, and nothing limits it but a limit that is
        used up. Where what is left pays a judgement but no proposal with it, only judges are asked.
        `is_judged`: a judge whose price is not known is to read what is there. Then one judge call
        at the price of a proposal is kept for it.
        """
        found = UNLIMITED
        if self.max_tokens is not None:
            prices = {side: spent.tokens / spent.calls for side, spent in spend.by_side.items()}
            found = least_remaining(found, _calls_within(self.max_tokens - spend.tokens, prices))
        if self.max_usd is not None:
            prices = {
                side: spent.picodollars / spent.calls for side, spent in spend.by_side.items()
            }
            left = round(self.max_usd * PICODOLLARS) - spend.picodollars
            found = least_remaining(found, _calls_within(left, prices))
        proposals = found.max_proposer_calls
        if is_judged and Side.JUDGE not in spend.by_side and proposals is not None:
            found = replace(found, max_proposer_calls=max(proposals - 1, 0))
        return found


def _calls_within(left: float, prices: dict[Side, float]) -> RemainingCalls:
    """Return the calls that an amount pays, by the mean price of each side."""
    if left <= 0:
        return RemainingCalls(max_calls=0)
    by_side = {side: _count(left, price) for side, price in prices.items()}
    proposer, judge = by_side.get(Side.PROPOSER), by_side.get(Side.JUDGE)
    pair = math.fsum(prices.values())
    if len(prices) < len(Side) or left >= pair:
        calls = _count(left * len(Side), pair) if len(prices) == len(Side) else None
        return RemainingCalls(calls, proposer, judge)
    return RemainingCalls(None, 0 if judge else proposer, judge)


def _count(left: float, price: float) -> int | None:
    return int(left / price) if price > 0 else None


def least_remaining(one: RemainingCalls, other: RemainingCalls) -> RemainingCalls:
    """Return what both allow."""

    def least(*limits: int | None) -> int | None:
        return min((limit for limit in limits if limit is not None), default=None)

    if one is UNLIMITED:
        return other
    return RemainingCalls(
        least(one.max_calls, other.max_calls),
        least(one.max_proposer_calls, other.max_proposer_calls),
        least(one.max_judge_calls, other.max_judge_calls),
        is_late=one.is_late or other.is_late,
    )
