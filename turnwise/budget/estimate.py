"""What to reserve for a call before it is sent.

Reserved is the input as estimated and calibrated by the endpoint's own counts (see
`calibration`), times a margin, and the output at its longest: `max_tokens`, or an allowance
where the call does not say, for each answer asked for. Settling gives back what was not used.
A cap on tokens or USD is as hard as that; `docs/limits.md` has what it may be passed by.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from turnwise.budget.room import Amounts
from turnwise.budget.usage import to_picodollars
from turnwise.calls.call import Call
from turnwise.calls.client import Endpoint
from turnwise.calls.reply import Reply, Usage
from turnwise.calls.vocabulary import Purpose, Role

if TYPE_CHECKING:
    from turnwise.budget.calibration import Calibration
    from turnwise.budget.tokens import InputTokens

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
        input_tokens: the estimate of the input, before it was calibrated.
    """

    tokens: int
    picodollars: int
    input_tokens: "InputTokens"

    def reservation(self) -> Amounts:
        """Return what one attempt reserves."""
        return Amounts(0, 1, self.tokens, self.picodollars)


class Estimator:
    """Estimates calls, endpoint by endpoint.

    Args:
        counter: counts input tokens; None takes `turnwise.budget.tokens` by the model
            of the endpoint, which is loaded when it is first needed. One with a method
            `call_parts`, as that one has, is calibrated by kind of character.
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
        self._counts: dict[str, Callable[[Call], InputTokens]] = {}
        self._calibrations: dict[tuple[str, str], Calibration] = {}

    def load(self, model: str) -> TokenCounter:
        """Return the counter for a model. May read token tables from disk, once."""
        if self._counter is not None:
            return self._counter
        counter = self._counters.get(model)
        if counter is None:
            from turnwise.budget.tokens import estimator  # noqa: PLC0415 - loaded if needed

            counter = self._counters[model] = estimator(model)
        return counter

    def estimate(self, call: Call, endpoint: Endpoint) -> Estimate:
        """Return what one attempt at a call may use at most."""
        estimated = self._input_tokens(call, endpoint)
        input_tokens = self._calibration(endpoint).tokens(estimated, self._margin or 1.0)
        sampling = call.sampling
        if call.is_embedding:
            output_tokens = 0
        elif sampling.max_tokens is None:
            output_tokens = self._default_output_tokens * sampling.n
        else:
            output_tokens = sampling.max_tokens * sampling.n
        prices = endpoint.prices
        usd = prices.most_usd(input_tokens, output_tokens) if prices else 0.0
        return Estimate(input_tokens + output_tokens, to_picodollars(usd), estimated)

    def received(self, call: Call, endpoint: Endpoint, reply: Reply) -> tuple[Usage, Estimate]:
        """Return what a stream that broke off has used, about, and what to charge for it."""
        texts = [reply.text, reply.reasoning_text]
        for tool_call in reply.tool_calls:
            texts += tool_call["function"].values()
        counted = tuple(filter(None, texts)) or (" ",)
        answer = Call(Role.EMBED, Purpose.EMBED, inputs=counted)
        asked = self._input_tokens(call, endpoint)
        parts = asked, self._input_tokens(answer, endpoint)
        calibration = self._calibration(endpoint)
        known = Usage(parts[0].total, parts[1].total)
        most = [calibration.tokens(part, self._margin or 1.0) for part in parts]
        usd = endpoint.prices.usd(*most) if endpoint.prices else 0.0
        return known, Estimate(sum(most), to_picodollars(usd), asked)

    def observe(self, estimate: Estimate, endpoint: Endpoint, usage: Usage) -> None:
        """Learn from the input tokens that an endpoint reports for a call.

        What a simulated model reports is an estimate itself, and teaches nothing.
        """
        if usage.input_tokens is not None and not endpoint.client.is_simulated:
            self._calibration(endpoint).observe(estimate.input_tokens, usage.input_tokens)

    def _input_tokens(self, call: Call, endpoint: Endpoint) -> "InputTokens":
        count = self._counts.get(endpoint.model)
        if count is None:
            count = self._counts[endpoint.model] = _by_parts(self.load(endpoint.model))
        return count(call)

    def _calibration(self, endpoint: Endpoint) -> "Calibration":
        key = (endpoint.name, endpoint.model)
        calibration = self._calibrations.get(key)
        if calibration is None:
            from turnwise.budget import tokens  # noqa: PLC0415 - loaded if needed
            from turnwise.budget.calibration import Calibration  # noqa: PLC0415 - as above

            if self._margin is None:
                self._margin = tokens.RESERVE_MARGIN
            is_known = getattr(self.load(endpoint.model), "is_known", True)
            if is_known or endpoint.client.is_simulated:
                calibration = Calibration()
            else:
                calibration = Calibration(tokens.UNKNOWN_ASCII_FACTOR, tokens.UNKNOWN_OTHER_FACTOR)
            self._calibrations[key] = calibration
        return calibration


def _by_parts(counter: TokenCounter) -> "Callable[[Call], InputTokens]":
    """Return what counts a call by kind of character; a counter that cannot counts all as one."""
    from turnwise.budget.tokens import InputTokens  # noqa: PLC0415 - loaded if needed

    split: Callable[[Call], InputTokens] | None = getattr(counter, "call_parts", None)
    return split or (lambda call: InputTokens(counter.call_tokens(call)))
