"""What to reserve for a call before it is sent.

Reserved is the input as estimated, times a margin, and the output at its longest:
`max_tokens`, or an allowance where the call does not say, for each answer asked for.
Settling gives back what was not used. A cap on tokens or USD is as hard as that: where
a call leaves `max_tokens` open, an answer longer than the allowance passes the cap by
the difference, once, and everything after it is refused.
"""

import math
from typing import NamedTuple, Protocol

from turnwise.budget.room import Amounts, to_picodollars
from turnwise.calls.call import Call
from turnwise.calls.client import Endpoint
from turnwise.calls.reply import Reply, Usage
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["DEFAULT_OUTPUT_TOKENS", "Estimate", "Estimator", "TokenCounter"]

DEFAULT_OUTPUT_TOKENS = 1024
"""Output reserved for a call without `max_tokens`."""


class TokenCounter(Protocol):
    """Whoever says how many input tokens a call has, about."""

    def call_tokens(self, call: Call) -> int:
        """Return the estimated input tokens of a call."""
        ...


class Estimate(NamedTuple):
    """What one attempt at a call may use at most.

    Args:
        tokens: input and output together.
        picodollars: at the endpoint's prices; 0 where it has none.
    """

    tokens: int
    picodollars: int

    def reservation(self) -> Amounts:
        """Return what one attempt reserves."""
        return Amounts(0, 1, self.tokens, self.picodollars)


class Estimator:
    """Estimates calls, endpoint by endpoint.

    Args:
        counter: counts input tokens; None takes `turnwise.budget.tokens` by the model
            of the endpoint, which is loaded when it is first needed.
        margin: what to multiply the input by; at least 1. None takes RESERVE_MARGIN.
        default_output_tokens: output of a call without `max_tokens`.
    """

    def __init__(
        self,
        counter: TokenCounter | None = None,
        *,
        margin: float | None = None,
        default_output_tokens: int = DEFAULT_OUTPUT_TOKENS,
    ) -> None:
        self._counter = counter
        self._counters: dict[str, TokenCounter] = {}
        self._margin = margin
        self._default_output_tokens = default_output_tokens

    def load(self, model: str) -> TokenCounter:
        """Return the counter for a model. May read token tables from disk, once."""
        if self._margin is None:
            from turnwise.budget.tokens import RESERVE_MARGIN  # noqa: PLC0415 - loaded if needed

            self._margin = RESERVE_MARGIN
        if self._counter is not None:
            return self._counter
        counter = self._counters.get(model)
        if counter is None:
            from turnwise.budget.tokens import estimator  # noqa: PLC0415 - loaded if needed

            counter = self._counters[model] = estimator(model)
        return counter

    def estimate(self, call: Call, endpoint: Endpoint) -> Estimate:
        """Return what one attempt at a call may use at most."""
        counter = self.load(endpoint.model)
        input_tokens = math.ceil(counter.call_tokens(call) * (self._margin or 1.0))
        sampling = call.sampling
        if call.is_embedding:
            output_tokens = 0
        elif sampling.max_tokens is None:
            output_tokens = self._default_output_tokens * sampling.n
        else:
            output_tokens = sampling.max_tokens * sampling.n
        prices = endpoint.prices
        usd = prices.usd(input_tokens, output_tokens) if prices else 0.0
        return Estimate(input_tokens + output_tokens, to_picodollars(usd))

    def received(self, call: Call, endpoint: Endpoint, reply: Reply) -> tuple[Usage, Estimate]:
        """Return what a stream that broke off has used, about, and what to charge for it."""
        counter = self.load(endpoint.model)
        texts = [reply.text, reply.reasoning_text]
        for tool_call in reply.tool_calls:
            texts += tool_call["function"].values()
        counted = tuple(filter(None, texts)) or (" ",)
        answer = Call(Role.EMBED, Purpose.EMBED, inputs=counted)
        counts = counter.call_tokens(call), counter.call_tokens(answer)
        most = [math.ceil(count * (self._margin or 1.0)) for count in counts]
        usd = endpoint.prices.usd(*most) if endpoint.prices else 0.0
        return Usage(*counts), Estimate(sum(most), to_picodollars(usd))
