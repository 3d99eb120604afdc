"""The rate limits of one endpoint: whether a request may leave now, and if not, when.

A request takes from every limit that covers it, or from none: the endpoint's own, those of its
key, of the users and tenants that it is for, and of the purposes and kinds of its calls. It
takes what its tokens are estimated at, times a factor: the largest part of an estimate that the
last answers of its purpose have used, and until there are some `token_margin`. When it has
ended, each meter is corrected to what it used, as of the time at which it was taken.

Nothing here waits: the time is passed in, and a queue asks when to ask again. A request that
alone is larger than a whole bucket fits when nothing else is in use, so that none waits for ever.
"""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Protocol, TypeVar

from callwise.budget.rate.meters import Meter, SharedMeters, meters_of
from callwise.budget.rate.need import MeterLine, RateAmounts, RateNeed, RatePart, need_of
from callwise.budget.rate.own_limits import OwnLimits
from callwise.budget.work import Shipment
from callwise.calls.call import Purpose
from callwise.calls.errors import RateLimited
from callwise.calls.kinds import kind_of
from callwise.calls.load.rate_limits import DIMENSIONS, RateLimits
from callwise.calls.reply import ReportedUsage

__all__ = ["EndpointGate", "RateGate", "UsedPart"]

_LOGGER = logging.getLogger(__name__)

NOTICE_SECONDS = 60.0
"""Shortest time between two lines in the log about one limit."""

SEEN_ANSWERS = 32
"""Answers of one purpose whose usage decides how much of an estimate is taken."""

ENOUGH_ANSWERS = 8
"""Answers from which their usage alone decides."""

MARGIN = 1.05
"""Most that the largest part of an estimate that answers have used is multiplied by."""

LEAST_PART, MOST_PART = 0.5, 10.0
"""Range of what an estimate is multiplied by."""

_NOTHING: RateAmounts = (0.0, 0.0, 0.0, 0.0)
"""Amounts of a request that did not leave."""

_FIRST: tuple[int, ...] = (0,)
"""Places of the calls of a request that carries one."""

_PURPOSE, _USER, _TENANT = (RatePart._fields.index(name) for name in ("purpose", "user", "tenant"))

_NAMES = {
    what: tuple(f"{what}.{dimension}".lstrip(".") for dimension in DIMENSIONS)
    for what in ("", "key", "user", "tenant", "purpose", "kind")
}
"""Names of limits, by what they limit; those of the endpoint are by themselves."""

GroupT = TypeVar("GroupT", bound=str)


class RateGate(Protocol):
    """Rate limits as the queue of one endpoint asks them. Synchronous; times are of one clock."""

    def need(self, shipment: Shipment) -> RateNeed:
        """Return what a shipment needs, by the estimates of its calls."""

    def ready_in(self, need: RateNeed, now_seconds: float) -> float:
        """Return the seconds after which to ask again; 0 when it may be taken now."""

    def bound_by(self, need: RateNeed, now_seconds: float) -> Hashable | None:
        """Return whose limit it waits for, such as `("user", "u1")`; None for the endpoint's.

        Asked after `ready_in` was above 0.
        """

    def take(self, need: RateNeed, now_seconds: float) -> None:
        """Take what it needs. `ready_in` was 0 at this time."""

    def settle(
        self, need: RateNeed, used: ReportedUsage | None, now_seconds: float, *, was_sent: bool
    ) -> None:
        """Correct what was taken to what was used. Does nothing when nothing is taken.

        Args:
            used: tokens of all its calls together; None where they are unknown, and what was
                taken counts.
            was_sent: whether the request left; else all is given back.
        """

    def observe(
        self, headers: Mapping[str, str] | None, error: RateLimited | None, now_seconds: float
    ) -> None:
        """Learn from the headers of a response, or from a refusal for the rate."""

    def statistics(self) -> Mapping[str, int | float]:
        """Return how many requests waited for each limit, and the limits that were learned."""

    def limits_per_minute(self) -> Mapping[str, float]:
        """Return the limits of the endpoint itself as they are now, by name."""


class UsedPart:
    """Part of the estimates that the answers of one purpose have used."""

    __slots__ = ("_lacking", "_margin", "_most", "_seen", "factor")

    def __init__(self, margin: float) -> None:
        self._seen = deque([0.0] * SEEN_ANSWERS, SEEN_ANSWERS)
        self._lacking = ENOUGH_ANSWERS
        self._most = 0.0
        self._margin = self.factor = margin

    def add(self, part: float) -> None:
        """Learn from the part of its estimate that an answer has used."""
        seen, most = self._seen, self._most
        left = seen[0]
        seen.append(part)
        if self._lacking:
            self._lacking -= 1
        elif part == left or (part <= most and left < most):
            return  # the largest part is as before
        self._most = max(seen)
        most = self._most * min(MARGIN, self._margin)
        if self._lacking:
            most = max(most, self._margin)
        self.factor = min(max(most, LEAST_PART), MOST_PART)


class EndpointGate:
    """The limits of one endpoint. A `RateGate`.

    Args:
        endpoint: its name, for the log.
        key: name of the variable of its key; empty for none.
        shared: meters that it shares with other endpoints.
        notify: called with each limit that is learned, as a sentence; None calls nothing.
    """

    need = staticmethod(need_of)

    def __init__(
        self,
        limits: RateLimits,
        *,
        endpoint: str,
        key: str = "",
        shared: SharedMeters,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._limits = limits
        self._endpoint = endpoint
        self._key = key
        self._is_asked = limits.counts == "asked"
        self._shared = shared
        self._own = OwnLimits(limits, endpoint, notify)
        self._by_purpose = {each: meters_of(r, limits) for each, r in limits.purposes.items()}
        self._by_kind = {each: meters_of(r, limits) for each, r in limits.kinds.items()}
        people = (
            ("user", limits.user, limits.users, _USER),
            ("tenant", limits.tenant, limits.tenants, _TENANT),
        )
        self._people = tuple(each for each in people if each[1] or each[2])
        self._is_simple = not (limits.key or self._people or limits.purposes or limits.kinds)
        self._own_lines: tuple[MeterLine, ...] = ()
        self._lines_for = -1
        margin = limits.token_margin
        self._used = defaultdict[Purpose, tuple[UsedPart, UsedPart]](
            lambda: (UsedPart(margin), UsedPart(margin))
        )
        self._delayed: Counter[str] = Counter()
        self._noticed_at: dict[str, float] = {}

    def ready_in(self, need: RateNeed, now_seconds: float) -> float:
        """Return the seconds after which to ask again; see `RateGate`."""
        own = self._own
        if need.generation != own.generation:
            self._cover(need, now_seconds)
        if not need.further and own.fits(need.amounts, now_seconds):
            return 0.0
        return self._longest_wait(need, now_seconds)

    def bound_by(self, need: RateNeed, now_seconds: float) -> Hashable | None:
        """Return whose limit it waits for; see `RateGate`."""
        del now_seconds
        return None if need.bound is None else need.bound.alone

    def take(self, need: RateNeed, now_seconds: float) -> None:
        """Take what it needs; see `RateGate`."""
        self._own.take(need, now_seconds)
        if need.further:
            need.further_charges = [
                (line, line.meter.charge(amount, now_seconds)) for line, amount in need.further
            ]

    def settle(
        self, need: RateNeed, used: ReportedUsage | None, now_seconds: float, *, was_sent: bool
    ) -> None:
        """Correct what was taken to what was used; see `RateGate`."""
        if not need.is_open:
            return
        amounts: RateAmounts | None = _NOTHING
        if was_sent:
            amounts = None if used is None else self._used_amounts(need, used)
        self._own.settle(need, amounts, now_seconds)
        if need.further_charges:
            self._settle_further(need, amounts, now_seconds)

    def observe(
        self, headers: Mapping[str, str] | None, error: RateLimited | None, now_seconds: float
    ) -> None:
        """Learn from the headers of a response, or from a refusal for the rate; see `RateGate`.

        See `own_limits`. How long a refused call itself waits is not decided here.
        """
        if error is not None:
            self._own.count_refused(now_seconds)
        if headers is not None:
            self._own.read_headers(headers, now_seconds)

    def limits_per_minute(self) -> Mapping[str, float]:
        """Return the limits of the endpoint itself as they are now; see `RateGate`."""
        meters = zip(DIMENSIONS, self._own.meters, strict=True)
        return {name: meter.per_minute for name, meter in meters if meter is not None}

    def statistics(self) -> Mapping[str, int | float]:
        """Return the counts of delayed and refused requests, and the learned limits."""
        counts: dict[str, int | float] = {"rate_refused": self._own.refused}
        if self._own.share < 1:
            counts["rate_share"] = self._own.share
        for name, count in sorted(self._delayed.items()):
            counts[f"rate_delayed_by_{name}"] = count
        for name, limit in self._own.learned.items():
            counts[f"rate_learned_{name}"] = limit
        return counts

    def _used_amounts(self, need: RateNeed, used: ReportedUsage) -> RateAmounts | None:
        """Return what a request has used of each quantity, None where unknown; learn from it."""
        of_input, of_output = used.input_tokens, used.output_tokens
        if of_input is None:
            return None
        parts = need.parts
        input_tokens, output_tokens, _, _, _ = parts[0]
        if len(parts) > 1:
            input_tokens = sum(part.input_tokens for part in parts)
            output_tokens = sum(part.output_tokens for part in parts)
        if of_output and self._is_asked:
            of_output = output_tokens
        for input_part, output_part in need.used_parts:
            if input_tokens:
                input_part.add(of_input / input_tokens)
            if output_tokens and of_output is not None:
                output_part.add(of_output / output_tokens)
        return None if of_output is None else (1.0, of_input + of_output, of_input, of_output)

    def _longest_wait(self, need: RateNeed, now_seconds: float) -> float:
        """Return the wait for the meter that binds, and note and count that it does."""
        longest_seconds, bound, amounts = 0.0, None, need.amounts
        meters = self._own.meters
        if self._lines_for != self._own.generation:
            self._own_lines = tuple(_lines(meters, _FIRST))
            self._lines_for = self._own.generation
        own = [(line, amounts[line.dimension]) for line in self._own_lines]
        for line, amount in (*own, *need.further):
            speed = 1.0 if line.alone is None else self._speed(line.alone, now_seconds)
            seconds = line.meter.wait_seconds(amount, now_seconds, speed)
            if seconds > longest_seconds:
                longest_seconds, bound = seconds, line
        if bound is None:
            return 0.0
        if need.bound is None or need.bound.name != bound.name:
            self._delayed[bound.name] += 1
            self._notice(bound, longest_seconds, now_seconds)
        need.bound = bound
        return longest_seconds

    def _settle_further(
        self, need: RateNeed, amounts: RateAmounts | None, now_seconds: float
    ) -> None:
        """Correct the meters of keys, users and so on."""
        charges, need.further_charges = need.further_charges, ()
        for line, charge in charges:
            real = charge.amount
            if amounts is not None:
                real = amounts[line.dimension] * _part_of(line, need.parts)
            line.meter.settle(charge, real, now_seconds)

    # Which meters cover a request, and what it takes of them.

    def _cover(self, need: RateNeed, now_seconds: float) -> None:
        """Set what a request takes of the endpoint's meters, and which others cover it."""
        parts = need.parts
        if len(parts) == 1:
            input_tokens, output_tokens, purpose, _, _ = parts[0]
            input_part, output_part = used_parts = self._used[purpose]
            of_input = input_tokens * input_part.factor
            of_output = output_tokens * (1.0 if self._is_asked else output_part.factor)
            need.amounts = amounts = 1.0, of_input + of_output, of_input, of_output
            need.used_parts = (used_parts,)
            places = _FIRST
        else:
            places = tuple(range(len(parts)))
            need.amounts = amounts = self._amounts(parts, places)
            need.used_parts = [self._used[each] for each in dict.fromkeys(p.purpose for p in parts)]
        if not self._is_simple:
            covering = []
            for line in self._further_lines(parts, places, now_seconds):
                is_whole = len(line.parts) == len(parts)
                of_line = amounts if is_whole else self._amounts(parts, line.parts)
                covering.append((line, of_line[line.dimension]))
            need.further = covering
        need.generation = self._own.generation

    def _further_lines(
        self, parts: Sequence[RatePart], everything: tuple[int, ...], now_seconds: float
    ) -> Iterator[MeterLine]:
        limits = self._limits
        if limits.key is not None:
            meters = self._shared.of("key", self._key, limits.key, limits, now_seconds)
            yield from _lines(meters, everything, "key")
        for what, default, named, place in self._people:
            for name, places in _grouped(parts, itemgetter(place)):
                rates = named.get(name, default) if name else None
                if rates is not None:
                    meters = self._shared.of(what, name, rates, limits, now_seconds)
                    yield from _lines(meters, places, what, (what, name))
        if self._by_purpose:
            for purpose, places in _grouped(parts, itemgetter(_PURPOSE)):
                meters = self._by_purpose.get(purpose, ())
                yield from _lines(meters, places, "purpose", ("purpose", purpose))
        if self._by_kind:
            for kind, places in _grouped(parts, lambda part: kind_of(part.purpose)):
                yield from _lines(self._by_kind.get(kind, ()), places, "kind", ("kind", kind))

    def _amounts(self, parts: Sequence[RatePart], places: Sequence[int]) -> RateAmounts:
        """Return what calls take of each quantity, in the order of `DIMENSIONS`."""
        of_input = of_output = 0.0
        for place in places:
            input_tokens, output_tokens, purpose, _, _ = parts[place]
            input_part, output_part = self._used[purpose]
            of_input += input_tokens * input_part.factor
            of_output += output_tokens * (1.0 if self._is_asked else output_part.factor)
        return 1.0, of_input + of_output, of_input, of_output

    def _speed(self, alone: tuple[str, str], now_seconds: float) -> float:
        """Return the factor of a user's or tenant's limit while the endpoint is little used."""
        limits = self._limits
        if limits.burst_factor <= 1 or alone[0] not in {"user", "tenant"}:
            return 1.0
        is_free = self._own.used_part(now_seconds) < limits.adaptive_threshold
        return limits.burst_factor if is_free else 1.0

    def _notice(self, line: MeterLine, wait_seconds: float, now_seconds: float) -> None:
        """Log which limit binds, at most once in `NOTICE_SECONDS` for each."""
        noticed_at = self._noticed_at.get(line.name)
        if noticed_at is not None and 0 <= now_seconds - noticed_at < NOTICE_SECONDS:
            return
        self._noticed_at[line.name] = now_seconds
        _LOGGER.info(
            "endpoint %s: %s=%g binds; the next request can leave in %.2f s",
            self._endpoint,
            line.name,
            line.meter.per_minute,
            wait_seconds,
        )


def _part_of(line: MeterLine, parts: Sequence[RatePart]) -> float:
    """Return the part of what a request has used that counts in a line, by its calls' estimates.

    The request itself counts in each.
    """
    if not line.dimension or len(line.parts) == len(parts):
        return 1.0
    whole = sum(part.input_tokens + part.output_tokens for part in parts)
    if not whole:
        return len(line.parts) / len(parts)
    return sum(parts[at].input_tokens + parts[at].output_tokens for at in line.parts) / whole


def _lines(
    meters: Sequence[Meter | None],
    places: tuple[int, ...],
    what: str = "",
    alone: tuple[str, str] | None = None,
) -> Iterator[MeterLine]:
    """Yield the meters of an endpoint, a key, a user, and so on, as lines of a request."""
    names = _NAMES[what]
    for dimension, meter in enumerate(meters):
        if meter is not None:
            yield MeterLine(meter, names[dimension], dimension, places, alone)


def _grouped(
    parts: Sequence[RatePart], of: Callable[[RatePart], GroupT]
) -> list[tuple[GroupT, tuple[int, ...]]]:
    """Return the places of parts by what they have in common, in the order of the parts."""
    if len(parts) == 1:
        return [(of(parts[0]), (0,))]
    groups: dict[GroupT, list[int]] = {}
    for place, part in enumerate(parts):
        groups.setdefault(of(part), []).append(place)
    return [(name, tuple(places)) for name, places in groups.items()]
