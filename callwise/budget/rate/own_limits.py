"""The limits of an endpoint itself: those that are set, those that it states, and its refusals.

While requests surely fit, their beginnings and ends are only noted, and the meters count them
later, together and as of their times: what has ended by then in one step, by its real usage.
Invariant: before anything else is asked of a meter, or done to it, it has counted what was noted.

A limit that the endpoint states counts once two responses in a row state it, so that one odd
response changes nothing. It only ever lowers one that is set, and is forgotten when no response
confirms it any more.

Others may use the same key, or a limit may be lower than it is thought to be. Then requests are
refused although they are within the limits. Where more than `MAX_REFUSED_PART` of the last requests
were, the limits are lowered by the part that was refused, which is what others take, once per
episode; while fewer are, they rise again, step by step. Few refusals, as they come by chance,
change nothing.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

from callwise.budget.rate.headers import HeaderLimit, limits_of_headers
from callwise.budget.rate.meters import Meter, meter_of, meters_of
from callwise.budget.rate.need import RateAmounts, RateNeed
from callwise.calls.load.rate_limits import DIMENSIONS, RateLimits

__all__ = ["OwnLimits"]

_LOGGER = logging.getLogger(__name__)

LEARNED_SECONDS = 600.0
"""Time for which a limit that was stated lasts without a response that confirms it."""

JUDGED_REQUESTS = 20
"""Requests after which the part of them that was refused is looked at."""

MAX_REFUSED_PART = 0.05
"""Part of the requests that may be refused without consequence."""

LEAST_SHARE = 0.1
"""Least part of the limits that is left however many are refused."""

LEAST_CUT = 0.5
"""Least factor of one cut: in a burst many are refused that would not be later."""

SHARE_GROWTH = 1.1
"""Factor by which the limits grow again."""

EPISODE_SECONDS = 60.0
"""Shortest time from one change of the limits to the next: that of a minute's limit."""

MAX_NOTED = 256
"""Most beginnings and ends that are noted before the meters count them."""

_UNKNOWN: RateAmounts = (-1.0, -1.0, -1.0, -1.0)
"""Amounts that surely fit where that was not found out: not even nothing."""


class OwnLimits:
    """The meters of one endpoint's limits.

    Args:
        endpoint: its name.
        notify: called with each limit that is learned, as a sentence; None calls nothing.

    Attributes:
        generation: changes whenever a meter is added or dropped.
        refused: requests that were refused for their rate.
        share: part of the limits that is used, in [`LEAST_SHARE`, 1].
    """

    def __init__(
        self, limits: RateLimits, endpoint: str, notify: Callable[[str], None] | None
    ) -> None:
        self._limits = limits
        self._endpoint = endpoint
        self._notify = notify
        self._meters = list(meters_of(limits, limits))
        self._noted: list[RateNeed] = []
        self._spare = _UNKNOWN
        """Amounts that surely fit after all that was noted."""
        self.generation = -1
        self._meters_changed()
        self.refused = 0
        self.share = 1.0
        self._stated: dict[int, float] = {}
        self._states_something_left = False
        self._learned: dict[int, tuple[float, float]] = {}
        self._open_requests = 0
        self._open_tokens = 0.0
        self._judged_sent = self._judged_refused = 0
        self._changed_at = -EPISODE_SECONDS

    @property
    def meters(self) -> Sequence[Meter | None]:
        """The meters, one for each limit that there is now, in the order of `DIMENSIONS`."""
        self._count_noted()
        return self._meters

    @property
    def learned(self) -> dict[str, float]:
        """The limits that were learned, by name."""
        return {DIMENSIONS[place]: limit for place, (limit, _) in sorted(self._learned.items())}

    def used_part(self, now: float) -> float:
        """Return the part in use of the limits, of the one that is used most."""
        parts = (meter.used_part(now) for meter in self.meters if meter is not None)
        return max(parts, default=0.0)

    def fits(self, amounts: RateAmounts, now: float) -> bool:
        """Return whether the meters allow amounts now."""
        requests, tokens, of_input, of_output = amounts
        spare = self._spare
        if (
            requests <= spare[0]
            and tokens <= spare[1]
            and of_input <= spare[2]
            and of_output <= spare[3]
        ):
            return True
        self._count_noted()
        for dimension, meter in self._limited:
            if meter.wait_seconds(amounts[dimension], now):
                return False
        left = [math.inf] * len(DIMENSIONS)
        for dimension, meter in self._limited:
            left[dimension] = meter.spare(now)
        self._spare = (left[0], left[1], left[2], left[3])
        return True

    def take(self, need: RateNeed, now: float) -> None:
        """Count a request that leaves, and look at the last ones once there are enough."""
        requests, tokens, of_input, of_output = need.amounts
        self._open_requests += 1
        self._open_tokens += tokens
        if self._learned:
            self._forget_learned(now)
        self._judged_sent += 1
        if self._judged_sent >= JUDGED_REQUESTS:
            self._judge(now)
        need.is_open, need.at_seconds = True, now
        spare = self._spare
        self._spare = (
            spare[0] - requests,
            spare[1] - tokens,
            spare[2] - of_input,
            spare[3] - of_output,
        )
        noted = self._noted
        noted.append(need)
        if len(noted) >= MAX_NOTED:
            self._count_noted()

    def settle(self, need: RateNeed, amounts: RateAmounts | None, now: float) -> None:
        """Count the end of a request, and correct what `take` has taken for it.

        Args:
            amounts: what it has used of each quantity; None where that is unknown.
        """
        self._open_requests -= 1
        _, tokens, of_input, of_output = need.amounts
        self._open_tokens = self._open_tokens - tokens if self._open_requests else 0.0
        if amounts is not None:
            if amounts[1] > tokens or amounts[2] > of_input or amounts[3] > of_output:
                self._count_noted()  # what goes beyond an estimate is used now, not then
            need.amounts = amounts
        need.is_open = False
        if need.charges:
            need.at_seconds = now
            self._noted.append(need)

    def count_refused(self, now: float) -> None:
        """Count a refusal: the meters count as used up, and go on at their rate.

        While the endpoint states what is left of its limits, and it is not nothing, the meters have
        that already: the refusal was not of these limits.
        """
        self.refused += 1
        if not self._limits.learn:
            return
        self._judged_refused += 1
        if self._states_something_left:
            return
        for meter in self.meters:
            if meter is not None:
                meter.use_up(now)

    def read_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Learn the limits that a response states, and what is left of them."""
        if not self._limits.learn:
            return
        left = []
        for place, stated in limits_of_headers(headers):
            left.append(stated.remaining)
            if self._stated.get(place) == stated.limit:
                self._learn(place, stated, now)
            self._stated[place] = stated.limit
        if left:
            self._states_something_left = all(each is not None and each >= 1 for each in left)

    def _learn(self, place: int, stated: HeaderLimit, now: float) -> None:
        self._count_noted()
        configured = self._limits.per_minute[place]
        limit = stated.limit if configured is None else min(stated.limit, configured)
        known = self._learned.get(place)
        self._learned[place] = (limit, now)
        meter, remaining = self._meters[place], stated.remaining
        if meter is None:
            meter = self._meters[place] = meter_of(limit * self.share, self._limits)
            self._meters_changed()
            if remaining is not None:  # what is under way was not counted by it
                under_way = (self._open_requests, self._open_tokens, 0.0, 0.0)[place]
                remaining = max(remaining - under_way, 0.0)
        if known is None or known[0] != limit:
            meter.limit_to(limit * self.share, now)
            self._judged_sent = self._judged_refused = 0  # that was under another limit
            self._say_learned(DIMENSIONS[place], limit)
        if remaining is not None:
            meter.leave(remaining, now)

    def _count_noted(self) -> None:
        """Let the meters count what was noted, as of its times."""
        self._spare = _UNKNOWN
        if not self._noted:
            return
        noted, self._noted = self._noted, []
        for need in noted:
            amounts, at_seconds = need.amounts, need.at_seconds
            if need.charges:
                for meter, dimension, charge in need.charges:
                    meter.settle(charge, amounts[dimension], at_seconds)
                need.charges = ()
            elif need.is_open:
                need.charges = [
                    (meter, dimension, meter.charge(amounts[dimension], at_seconds))
                    for dimension, meter in self._limited
                ]
            else:
                for dimension, meter in self._limited:
                    if amounts[dimension]:
                        meter.count(amounts[dimension], at_seconds)

    def _meters_changed(self) -> None:
        self.generation += 1
        self._limited: Sequence[tuple[int, Meter]] = tuple(
            (place, meter) for place, meter in enumerate(self._meters) if meter is not None
        )

    def _say_learned(self, name: str, limit: float) -> None:
        _LOGGER.info("endpoint %s: learned %s=%g", self._endpoint, name, limit)
        if self._notify is not None:
            words = name.replace("_", " ")
            self._notify(
                f"{self._endpoint} states a limit of {limit:,g} {words}: calls to it keep to that"
            )

    def _forget_learned(self, now: float) -> None:
        for place, (_, learned_at) in list(self._learned.items()):
            if now - learned_at <= LEARNED_SECONDS:
                continue
            self._count_noted()
            del self._learned[place]
            self._stated.pop(place, None)
            configured, meter = self._limits.per_minute[place], self._meters[place]
            if configured is None or meter is None:
                self._meters[place] = None
                self._meters_changed()
            else:
                meter.limit_to(configured * self.share, now)

    def _judge(self, now: float) -> None:
        """Set the share by the part of the last requests that was refused."""
        part, share = self._judged_refused / self._judged_sent, self.share
        self._judged_sent = self._judged_refused = 0
        if 0 <= now - self._changed_at < EPISODE_SECONDS:
            return
        if part > MAX_REFUSED_PART:
            share = max(share * max(1.0 - part, LEAST_CUT), LEAST_SHARE)
            _LOGGER.info(
                "endpoint %s: %.0f %% of requests were refused within the limits; %.0f %% of the "
                "limits are used from now on",
                self._endpoint,
                100 * part,
                100 * share,
            )
        else:
            share = min(share * SHARE_GROWTH, 1.0)
        if share == self.share:
            return
        self.share, self._changed_at = share, now
        for place, meter in enumerate(self.meters):
            learned = self._learned.get(place)
            limit = self._limits.per_minute[place] if learned is None else learned[0]
            if meter is not None and limit is not None:
                meter.limit_to(limit * share, now)
