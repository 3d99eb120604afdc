"""Choice of the endpoint that serves an attempt, among those of one role.

Each attempt is given to one of the asked endpoint and its alternatives that is not down, by the
policy of `load.route`. An attempt that an endpoint fails (it cannot be reached, is slow, answers
429 or 5xx, refuses the key) goes to one that the call has not tried; one that fails by its content
(a refused text, a prompt that is too long, a field that is not taken) stays where it is. After
each endpoint was tried once, the retry policy decides about the next attempt.

Which endpoint served is a fact of the exchange: it is in `Delivery`, and a replay takes it from
there. The call's key and row name the endpoint that was asked.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from callwise.budget.breaker import Breaker, Breakers
from callwise.budget.clock import Clock
from callwise.budget.run_gate import RunGate
from callwise.budget.work import Work
from callwise.calls.client import Endpoint
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    CallError,
    CallTimeout,
    ConnectionFailed,
    EndpointDown,
    EndpointError,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    StreamCut,
    UnknownModel,
)
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.route_knobs import RouteKnobs

__all__ = ["Router"]

_OF_THE_ENDPOINT = (
    ConnectionFailed,
    CallTimeout,
    StreamCut,
    RateLimited,
    ServerFailed,
    BadResponse,
    AuthFailed,
    UnknownModel,
    QuotaExhausted,
)
"""Errors after which another endpoint may answer the same call."""

_STANDARD = RouteKnobs()


def _is_of_the_endpoint(error: CallError) -> bool:
    """Return whether another endpoint may answer, as when this one failed or had no place."""
    if isinstance(error, _OF_THE_ENDPOINT):
        return True
    is_content = isinstance(error, BadRequest)
    return isinstance(error, EndpointError) and not error.was_sent and not is_content


Key = tuple[str, str]
"""Name and model of an endpoint."""


class Router:
    """Chooses endpoints, and notes how they served.

    Args:
        load_of: returns the knobs of an endpoint.
        gate: stops the run where all endpoints of a role have been down for long.
    """

    def __init__(
        self,
        clock: Clock,
        breakers: Breakers,
        load_of: Callable[[Endpoint], LoadKnobs],
        gate: RunGate,
    ) -> None:
        self._clock = clock
        self._breakers = breakers
        self._load_of = load_of
        self._gate = gate
        self._under_way: defaultdict[Key, int] = defaultdict(int)
        self._credits: defaultdict[Key, float] = defaultdict(float)
        self._cool_until_seconds: dict[Key, float] = {}
        self._noticed: set[tuple[Key, str]] = set()

    def choose(self, work: Work) -> Breaker | None:
        """Set the endpoint of an attempt, which `end` ends; return its breaker for a trial.

        Raises:
            EndpointDown: when all endpoints are down.
            RunStopped: when they have been for so long that the run stops.
        """
        asked = work.asked
        if not asked.alternatives:
            try:
                trial = self._breakers.admit(asked)
            except EndpointDown:
                if self._stops_as_down(work):
                    self._gate.check()
                raise
            self._under_way[asked.identity] += 1
            return trial
        candidates = asked.candidates
        if self._breakers.are_all_closed:
            if not work.stays:
                work.serve_by(self._chosen(work, candidates))
            self._under_way[work.endpoint.identity] += 1
            return None
        usable = self._breakers.accepting(candidates)
        if not usable:
            if self._stops_as_down(work):
                self._gate.check()
            down = "; ".join(
                f"{each.name}, {each.model} ({self._breakers.reason(each)})" for each in candidates
            )
            raise EndpointDown(f"not asked, all have just failed: {down}", was_sent=False)
        if not (work.stays and any(each is work.endpoint for each in usable)):
            work.serve_by(self._chosen(work, usable))
        trial = self._breakers.admit(work.endpoint)
        self._under_way[work.endpoint.identity] += 1
        return trial

    def end(self, endpoint: Endpoint) -> None:
        """Count the end of an attempt at an endpoint."""
        self._under_way[endpoint.identity] -= 1

    def failed(self, work: Work, error: CallError) -> None:
        """Note by which endpoint an attempt failed, and whether another may be asked.

        Stops the run where all have been down for so long.
        """
        if not _is_of_the_endpoint(error):
            return
        # Trials that fail as seldom as calls are asked refuse none, but show the same.
        self._stops_as_down(work)
        if not work.asked.alternatives:
            return
        endpoint, key = work.endpoint, work.endpoint.identity
        work.tried |= {key}
        if error.is_fatal:
            knobs = self._load_of(work.asked).route or _STANDARD
            reason = f"{type(error).__name__}: {error}"
            self._breakers.trip(endpoint, reason, seconds=knobs.fatal_seconds)
            self._notice(key, type(error).__name__, f"{endpoint.name} is passed over: {error}")
        elif isinstance(error, RateLimited) and not self._clock.is_virtual:
            self._cool_until_seconds[key] = self._clock.now() + (error.retry_after_seconds or 0.0)

    def has_another(self, work: Work, error: CallError) -> bool:
        """Return whether an endpoint that the call has not tried may be asked after an error."""
        if not work.asked.alternatives:
            return False
        work.stays = not _is_of_the_endpoint(error)
        if work.stays:
            return False
        work.tried |= {work.endpoint.identity}
        return any(
            each.identity not in work.tried
            for each in self._breakers.accepting(work.asked.candidates)
        )

    def takes_long(self, work: Work) -> bool:
        """Return whether an attempt goes to its endpoint's batch interface, which takes hours."""
        background = self._load_of(work.endpoint).background
        if background is None or background.api is None:
            return False
        return work.priority >= background.takes

    def is_down(self, work: Work) -> bool:
        """Return whether no endpoint may be asked now."""
        return all(map(self._breakers.refuses, work.asked.candidates))

    def stop_for(self, work: Work, error: CallError) -> None:
        """Stop the run for an error that every later call would meet, where that is asked for."""
        breaker = self._load_of(work.asked).breaker
        if error.is_fatal and breaker is not None and breaker.stop_seconds is not None:
            self._gate.stop(f"{type(error).__name__} of {work.endpoint.name}: {error}")

    def _chosen(self, work: Work, usable: Sequence[Endpoint]) -> Endpoint:
        ready = usable
        if work.tried:
            ready = [each for each in ready if each.identity not in work.tried] or ready
        if cool := self._cool_until_seconds:
            now = self._clock.now()
            ready = [each for each in ready if cool.get(each.identity, now) <= now] or ready
        match (self._load_of(work.asked).route or _STANDARD).policy:
            case "fallback":
                return ready[0]
            case "least_busy":
                return self._least_busy(ready)
            case "weighted":
                return self._by_weight(ready)

    def _least_busy(self, ready: Sequence[Endpoint]) -> Endpoint:
        """Return the endpoint with the fewest attempts under way, for its weight."""
        under_way, chosen, least = self._under_way, ready[0], math.inf
        for each in ready:
            count = under_way[each.identity]
            if not count:
                return each
            if count / each.weight < least:
                chosen, least = each, count / each.weight
        return chosen

    def _by_weight(self, ready: Sequence[Endpoint]) -> Endpoint:
        """Return the endpoint that is furthest behind its share of the calls."""
        given, chosen, most, total = self._credits, ready[0], -math.inf, 0.0
        for each in ready:
            key, weight = each.identity, each.weight
            credit = given[key] = given[key] + weight
            total += weight
            if credit > most:
                chosen, most = each, credit
        given[chosen.identity] -= total
        return chosen

    def _stops_as_down(self, work: Work) -> bool:
        """Stop the run where all endpoints have been down for long; return whether they have."""
        breaker = self._load_of(work.asked).breaker
        if breaker is None or breaker.stop_seconds is None:
            return False
        seconds = min(map(self._breakers.down_seconds, work.asked.candidates))
        if seconds >= breaker.stop_seconds:
            names = ", ".join(each.name for each in work.asked.candidates)
            self._gate.stop(
                f"every endpoint of the role {work.call.role} has been down for {seconds:.0f} s: "
                f"{names}"
            )
            return True
        return False

    def _notice(self, key: Key, kind: str, text: str) -> None:
        if (key, kind) not in self._noticed:
            self._noticed.add((key, kind))
            if self._breakers.notify is not None:
                self._breakers.notify(text)
