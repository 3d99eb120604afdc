"""The limits that cover a request, as processes share them, and what it takes of each."""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from callwise.budget.work import Shipment, Work
from callwise.calls.call import Purpose
from callwise.calls.client import Endpoint
from callwise.calls.kinds import kind_of
from callwise.calls.load.rate_limits import RateLimits, Rates

__all__ = ["NarrowLimit", "RateLine", "name_of", "narrow_limits", "rate_lines"]

_NO_RATES = (None,) * 4


class NarrowLimit(NamedTuple):
    """A limit of a user, a tenant, a purpose or a kind of work.

    Args:
        name: of what is limited, such as `user u1`.
        alone: the same as `RateGate.bound_by` returns it.
        is_of_person: whether it is of a user or a tenant, over all endpoints.
    """

    name: str
    alone: Hashable
    rates: Rates
    is_of_person: bool = False


def narrow_limits(
    limits: RateLimits, endpoint: str, purpose: Purpose, user: str, tenant: str
) -> Iterator[NarrowLimit]:
    """Yield the narrow limits of a call.

    Args:
        endpoint: name of the endpoint and its model.
        user: id of the user that it is asked for; empty where none is known. So is `tenant`.
    """
    for what, name, rates in (
        ("user", user, limits.users.get(user, limits.user)),
        ("tenant", tenant, limits.tenants.get(tenant, limits.tenant)),
    ):
        if name and rates is not None:
            yield NarrowLimit(_named(what, name), (what, name), rates, is_of_person=True)
    kind = kind_of(purpose)
    for what, of, rates in (
        ("purpose", purpose, limits.purposes.get(purpose)),
        ("kind", kind, limits.kinds.get(kind)),
    ):
        if rates is not None:
            yield NarrowLimit(f"{what} {of.value} of {endpoint}", (what, of), rates)


def _named(what: str, name: str) -> str:
    return f"{what} {quote(name, safe='')}"


class RateLine(NamedTuple):
    """A limit that a request takes from, and what it takes.

    Args:
        name: of what is limited: an endpoint and its model, a key, or as a `NarrowLimit` has it.
        per_minute: most requests, tokens, input and output tokens per minute; None for no limit.
        amounts: the same quantities that the request takes, by estimate.
        is_of_all_endpoints: whether it is of a key, a user or a tenant. Such limits count apart
            where they differ.
        factor: of the limits, while little of the endpoint's own is in use.
        part: of what the request uses that counts here.
    """

    name: str
    per_minute: tuple[float | None, ...]
    amounts: tuple[float, ...]
    is_of_all_endpoints: bool = False
    factor: float = 1.0
    part: float = 1.0

    def used(self, tokens: tuple[float, float] | None) -> tuple[float, ...]:
        """Return what the request has used of this limit.

        Args:
            tokens: input and output tokens of all its calls; None takes what it was given.
        """
        if tokens is None:
            return self.amounts
        of_input, of_output = (self.part * each for each in tokens)
        return 1.0, of_input + of_output, of_input, of_output

    def of_part(self, part: float) -> "RateLine":
        """Return the same for a part of the calls; the request itself counts whole."""
        requests, *tokens = self.amounts
        return self._replace(amounts=(requests, *(each * part for each in tokens)), part=part)


def rate_lines(limits: RateLimits, shipment: Shipment) -> list[RateLine]:
    """Return the limits that cover a request, that of its endpoint first, where any is set."""
    endpoint, works = shipment.endpoint, shipment.works
    estimate = shipment.estimate()
    tokens, of_output = float(estimate.tokens), float(estimate.output_tokens)
    at = name_of(endpoint)
    whole = RateLine(at, limits.per_minute, (1.0, tokens, tokens - of_output, of_output))
    lines = [whole]
    if limits.key is not None:
        name = _named("key", endpoint.key_variable or endpoint.name)
        rates = limits.key.per_minute
        lines.append(whole._replace(name=name, per_minute=rates, is_of_all_endpoints=True))
    groups: dict[str, tuple[NarrowLimit, list[Work]]] = {}
    for work in works:
        scope = work.payer.scope
        for limit in narrow_limits(
            limits, at, work.call.purpose, scope.user or "", scope.tenant or ""
        ):
            groups.setdefault(limit.name, (limit, []))[1].append(work)
    for name, (limit, covered) in groups.items():
        line = whole if len(covered) == len(works) else whole.of_part(_part(covered, works))
        is_of_person = limit.is_of_person
        lines.append(
            line._replace(
                name=name,
                per_minute=limit.rates.per_minute,
                is_of_all_endpoints=is_of_person,
                factor=limits.burst_factor if is_of_person else 1.0,
            )
        )
    return lines if any(line.per_minute != _NO_RATES for line in lines) else []


def name_of(endpoint: Endpoint) -> str:
    """Return the name of an endpoint's own limits."""
    return f"{endpoint.name}/{endpoint.model}"


def _part(covered: Sequence[Work], works: Sequence[Work]) -> float:
    """Return the part that calls have in the tokens of all calls of a request, by estimate."""
    whole = sum(work.estimate().tokens for work in works)
    if not whole:
        return len(covered) / len(works)
    return sum(work.estimate().tokens for work in covered) / whole
