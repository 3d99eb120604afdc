"""The interfaces of a call: a `Client` sends it, and a node asks an `LLM`.

A client sends what it is given and returns what came back: it does not retry, cache or
count. All of that is the budgeter's, so that every request is counted once, in one place.
Fakes for tests implement these interfaces and pass the same contract tests as the real clients.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from callwise.calls.call import Call, Role
from callwise.calls.errors import CallError, CassetteMiss, ConfigError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.payload import document_of
from callwise.calls.reply import Reply
from callwise.calls.retry import RetryPolicy

__all__ = [
    "LLM",
    "Client",
    "ConversationClient",
    "Endpoint",
    "EndpointsByName",
    "Getter",
    "OfflineClient",
    "Prices",
    "Remaining",
    "ReportsHeaders",
    "look_up",
]

_PLURAL_S = re.compile(r"s\b")
"""Ending of a unit in the plural: of `calls`, and of the first word of `calls of judge`."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of an endpoint, in USD per million tokens.

    Args:
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
        input_price, cached_price = self.input_usd_per_million, self.cached_usd_per_million
        if cached_price is not None and cached_price > input_price:
            input_price = cached_price
        return (input_tokens * input_price + output_tokens * self.output_usd_per_million) / 1e6


@runtime_checkable
class Client(Protocol):
    """A sender of calls: an HTTP endpoint, a LangChain model, a simulated model."""

    @property
    def is_simulated(self) -> bool:
        """Whether its answers are simulated, so that they are labelled wherever they are shown."""

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
            on_sent: called once for each request that leaves the machine, at the
                moment it leaves, with the index in `calls` of the (first) call that
                it carries. A client that never calls it for an answered call sent
                one request for that call. After a cancellation, what it was called
                with is what was sent.

        Returns:
            One reply or error for each call, in the order of `calls`.
        """

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""


@runtime_checkable
class ConversationClient(Client, Protocol):
    """A client of an endpoint that may have a route for lists of conversations."""

    async def answer_conversations(
        self,
        calls: Sequence[Call],
        *,
        model: str,
        path: str,
        on_sent: Callable[[], None] | None = None,
    ) -> Sequence[Reply | CallError]:
        """Answer chat calls with one request, as `Client.answer` otherwise.

        Args:
            calls: without tools and streams, of one choice each; their parameters are equal.
            path: of the route, below the base URL.
            on_sent: called when the request leaves.

        Returns:
            One reply or error for each call, in the order of `calls`. A usage that came as one
            sum is apportioned, and adds up to that, also where the request failed. A call
            without an answer of its index ends in `BatchFailed`.
        """


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
        prices: its price list; None when unknown. Unknown is not free.
        retry: when a failed attempt there is tried again; None takes the budgeter's policy.
        timeout_seconds: longest time for one attempt; None leaves the client's own.
        key_variable: environment variable that its key is read from, for errors.
        load: its knobs of load, laid over the budgeter's; None takes those.
        alternatives: endpoints that may serve its calls in its place; see `load.route`. They
            have none themselves.
        weight: share of the calls that it serves next to its alternatives; above 0.
    """

    name: str
    model: str
    client: Client
    prices: Prices | None = None
    retry: RetryPolicy | None = None
    timeout_seconds: float | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    key_variable: str | None = None
    load: LoadKnobs | None = None
    alternatives: tuple["Endpoint", ...] = ()
    weight: float = 1.0
    identity: tuple[str, str] = field(init=False, repr=False, compare=False)
    """Its name and model."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", (self.name, self.model))

    @property
    def candidates(self) -> tuple["Endpoint", ...]:
        """Itself, and the endpoints that may serve its calls in its place."""
        return (self, *self.alternatives)

    def completed(self, call: Call) -> Call:
        """Return a call with what this endpoint adds; what the call has itself goes before."""
        if call.timeout_seconds is None and self.timeout_seconds is not None:
            call = replace(call, timeout_seconds=self.timeout_seconds)
        if self.extra_body and not call.is_embedding:
            body = {**self.extra_body, **call.sampling.extra_body}
            call = replace(call, sampling=replace(call.sampling, extra_body=body))
        return call

    def taking_over(self, call: Call, asked: "Endpoint") -> Call:
        """Return a call that another endpoint has completed, with what this one adds instead."""
        if call.timeout_seconds is not None and call.timeout_seconds == asked.timeout_seconds:
            call = replace(call, timeout_seconds=None)
        body = call.sampling.extra_body
        if asked.extra_body and body:
            added = asked.extra_body
            own = {name: body[name] for name in body if body[name] != added.get(name)}
            call = replace(call, sampling=replace(call.sampling, extra_body=own))
        return self.completed(call)


EndpointsByName: TypeAlias = Mapping[str, Endpoint] | Mapping[Role, Endpoint]
"""Endpoints by the role that each serves, or by another name: that of `Call.model`."""


@runtime_checkable
class ReportsHeaders(Protocol):
    """A client that reports the headers of its responses."""

    def report_headers(self, model: str, listener: Callable[[Mapping[str, str]], None]) -> None:
        """Call a function with the headers of each response for a model, as soon as they come.

        Their names are in lower case, or a lookup ignores case. The function must not raise.
        """


@runtime_checkable
class Getter(Protocol):
    """A client that can send a GET to its endpoint."""

    async def get(
        self, url: str, *, timeout_seconds: float, on_sent: Callable[[], None] | None = None
    ) -> tuple[int, bytes]:
        """Return the response's status, whatever it is, and its body.

        Args:
            url: a path below the base URL, or a whole URL of the same host.

        Raises:
            CallError: when no response came.
        """


async def look_up(
    client: Getter,
    url: str,
    *,
    base_url: str,
    timeout_seconds: float,
    on_sent: Callable[[], None] | None = None,
) -> tuple[int, Any]:
    """Return the status and the JSON document of a GET, None where it is no JSON.

    Args:
        url: a path below the base URL, or a whole URL of the same host and port.

    Raises:
        ConfigError: when the URL is of another host; nothing was sent.
        CallError: when no response came.
    """
    home = urlsplit(base_url).netloc
    if urlsplit(url).netloc not in {"", home}:
        raise ConfigError(f"{url} is not of {home}")
    status, content = await client.get(url, timeout_seconds=timeout_seconds, on_sent=on_sent)
    try:
        return status, document_of(content)
    except ValueError:
        return status, None


@dataclass(frozen=True, slots=True)
class Remaining:
    """Remaining amounts in the current scope, the tightest of all scopes above it.

    `None` means that nothing limits it. Leases of others are already taken off.

    Args:
        calls_left: whole calls that would still be accepted, of any role.
        calls_left_by_role: the same as `calls_left` for roles with their own limit.
    """

    calls_left: int | None = None
    requests_left: int | None = None
    tokens_left: int | None = None
    usd_left: float | None = None
    seconds_left: float | None = None
    calls_left_by_role: tuple[tuple[Role, int], ...] = ()

    def __str__(self) -> str:
        """Return what is limited, such as `3 calls, 0.5 USD`; empty for nothing."""
        amounts = {
            "calls": self.calls_left,
            "requests": self.requests_left,
            "tokens": self.tokens_left,
            "USD": self.usd_left,
            "seconds": self.seconds_left,
            **{f"calls of {role.value}": calls for role, calls in self.calls_left_by_role},
        }
        return ", ".join(
            f"{each:,.12g} {_PLURAL_S.sub('', name) if each == 1 else name}"
            for name, each in amounts.items()
            if each is not None
        )


class LLM(Protocol):
    """The one way for a node to reach a model. The budgeter is one."""

    async def ask(self, call: Call) -> Reply:
        """Return the answer, its `parsed` set when the call has a response model.

        Raises:
            CallError: whatever ended the call instead; see the tree in `errors`.
        """

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Ask several calls in one round, and return each one's reply or error in order.

        Calls in one round do not wait for each other, beyond `max_concurrency`.
        Fatal errors (`CallError.is_fatal`) are raised once all have ended.
        """

    def advisory(self) -> Remaining:
        """Return what remains in the current scope."""
