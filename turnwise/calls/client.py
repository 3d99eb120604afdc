"""The seam between a call and whoever answers it.

One narrow protocol. A client sends what it is given and says what came back: it
does not retry, does not cache, does not count. All of that is the budgeter's, so
that every request is counted once, in one place. Fakes for tests stand at this
seam and pass the same contract tests as the real clients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from turnwise.calls.call import Call
from turnwise.calls.errors import CallError, CassetteMiss
from turnwise.calls.reply import Reply
from turnwise.calls.retry import RetryPolicy

__all__ = ["Client", "Endpoint", "OfflineClient", "Prices"]


@dataclass(frozen=True, slots=True)
class Prices:
    """What an endpoint charges, in USD per million tokens.

    Args:
        input_usd_per_million: per million prompt tokens.
        output_usd_per_million: per million answer tokens.
        cached_usd_per_million: per million prompt tokens found in the provider's
            prompt cache; None charges them like any other.
    """

    input_usd_per_million: float
    output_usd_per_million: float
    cached_usd_per_million: float | None = None

    def usd(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return the price of one answer in USD."""
        cached_price = self.cached_usd_per_million
        if cached_price is None:
            cached_price = self.input_usd_per_million
        fresh_tokens = max(input_tokens - cached_tokens, 0)
        return (
            fresh_tokens * self.input_usd_per_million
            + min(cached_tokens, input_tokens) * cached_price
            + output_tokens * self.output_usd_per_million
        ) / 1e6

    def most_usd(self, input_tokens: int, output_tokens: int) -> float:
        """Return the price of one answer at most, whatever is found in a prompt cache."""
        is_dearer = (self.cached_usd_per_million or 0.0) > self.input_usd_per_million
        return self.usd(input_tokens, output_tokens, input_tokens if is_dearer else 0)


@runtime_checkable
class Client(Protocol):
    """Who answers calls: an HTTP endpoint, a LangChain model, a simulated model."""

    @property
    def is_simulated(self) -> bool:
        """Whether its answers are simulated, so that whoever shows them says so."""
        ...

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer one call, or several that may travel together.

        One attempt: no retries. An error of one call is returned in its place,
        not raised, so that the others keep their answers. Cancelling this
        coroutine cancels what is in flight.

        Args:
            calls: at least one.
            model: the model that should answer.
            on_sent: called once for each request that leaves the machine, at the
                moment it leaves, with the index in `calls` of the (first) call that
                it carries. A client that never calls it for an answered call sent
                one request for that call. After a cancellation, what it was called
                with is what was sent.

        Returns:
            One reply or error a call, in the order of `calls`.
        """
        ...

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class OfflineClient:
    """A client that sends nothing and answers nothing."""

    is_simulated: bool = False

    async def answer(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        on_sent: Callable[[int], None] | None = None,  # noqa: ARG002 - nothing is sent
    ) -> Sequence[Reply | CallError]:
        """Return an error for every call."""
        return [CassetteMiss(f"offline: nothing is sent to {model}") for _ in calls]

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model somewhere, with a name.

    Args:
        name: part of every call's identity; letters, digits, `-`, `_` and `.`.
        model: the model's name there.
        client: who sends.
        prices: its price list; None when unknown. Unknown is not free.
        retry: when a failed attempt there is tried again; None takes the budgeter's policy.
        timeout_seconds: longest time for one attempt; None leaves the client's own.
        extra_body: fields of every chat request's body, for what it has of its own.
        key_variable: environment variable that its key is read from, for errors.
    """

    name: str
    model: str
    client: Client
    prices: Prices | None = None
    retry: RetryPolicy | None = None
    timeout_seconds: float | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    key_variable: str | None = None

    def completed(self, call: Call) -> Call:
        """Return a call with what this endpoint adds; what the call has itself goes before."""
        if call.timeout_seconds is None and self.timeout_seconds is not None:
            call = replace(call, timeout_seconds=self.timeout_seconds)
        if self.extra_body and not call.is_embedding:
            body = {**self.extra_body, **call.sampling.extra_body}
            call = replace(call, sampling=replace(call.sampling, extra_body=body))
        return call
