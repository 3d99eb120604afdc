"""What an attempt that was sent is billed: its tokens and its price, known or not.

- The endpoint answered: by the usage of the answer; what of it is missing is unknown.
- The endpoint turned the request away (429, 401, 403, another 4xx, or a 503 while it
  loads its model): nothing, because no model ran.
- Anything else (5xx, a timeout, a cut stream, a cancellation): unknown.

Unknown is not 0: the limits are charged the whole estimate, and the row says so. Of a
stream that broke off, what came of it is counted by estimate, and its usage is unknown.
"""

from collections.abc import Callable
from typing import NamedTuple

from turnwise.budget.estimate import Estimate
from turnwise.budget.room import to_picodollars
from turnwise.budget.spent import Spent
from turnwise.calls.client import Prices
from turnwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallError,
    ContentRefused,
    ModelLoading,
    QuotaExhausted,
    RateLimited,
    UnknownModel,
)
from turnwise.calls.reply import Reply, Usage

__all__ = ["Bill", "bill_attempt"]

_TURNED_AWAY = (RateLimited, AuthFailed, BadRequest, UnknownModel, QuotaExhausted, ModelLoading)
"""Errors after which no model has run."""


class Bill(NamedTuple):
    """What the limits are charged for one attempt.

    Args:
        tokens: known, or estimated where they are not.
        picodollars: the same in 1e-12 USD.
    """

    tokens: int = 0
    picodollars: int = 0


def bill_attempt(
    result: Reply | CallError | None,
    requests: int,
    spent: Spent,
    *,
    prices: Prices | None,
    estimate: Callable[[], Estimate],
    received: Callable[[], tuple[Usage, Estimate]] | None = None,
) -> Bill:
    """Add what is known of a sent attempt to `spent`, and return what to charge for it.

    Args:
        result: how it ended; None when it was broken off.
        requests: requests that it sent; at least 1.
        spent: what the call has spent so far. Changed.
        prices: of the endpoint.
        estimate: what it may have used at most; asked only when something is unknown.
        received: what came of a stream, about, and what to charge for that; None where
            nothing came.
    """
    if isinstance(result, _TURNED_AWAY):
        return Bill()
    if isinstance(result, ContentRefused) and (result.status or 0) >= 400:
        return Bill()
    if not isinstance(result, Reply):
        spent.unknown_usage += requests
        spent.unknown_usd += requests
        most = estimate()
        if received is None:
            return Bill(most.tokens, most.picodollars)
        known, charged = received()
        spent.input_tokens += known.input_tokens or 0
        spent.output_tokens += known.output_tokens or 0
        return Bill(min(charged.tokens, most.tokens), min(charged.picodollars, most.picodollars))
    usage = result.usage
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    spent.input_tokens += input_tokens
    spent.output_tokens += output_tokens
    spent.cached_tokens += usage.cached_tokens or 0
    tokens = usage.total_tokens
    if tokens is None:
        spent.unknown_usage += 1
        tokens = max(input_tokens + output_tokens, estimate().tokens)
    picodollars = _price(usage, prices)
    if picodollars is None:
        spent.unknown_usd += 1
        return Bill(tokens, estimate().picodollars)
    spent.picodollars += picodollars
    return Bill(tokens, picodollars)


def _price(usage: Usage, prices: Prices | None) -> int | None:
    if usage.usd is not None:
        return to_picodollars(usage.usd)
    if prices is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return to_picodollars(
        prices.usd(usage.input_tokens, usage.output_tokens, usage.cached_tokens or 0)
    )
