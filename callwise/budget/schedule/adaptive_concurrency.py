"""The number of requests that an endpoint takes at a time, learned from its 429s.

Choice: slow start (one more slot per success) until the first 429. A 429 cuts the limit to
`CUT` of what it was, once per episode: the 429s of requests that were sent before the cut are of
the same overload. The number under way at which it came is the ceiling. From below, the limit
returns to the ceiling within a few rounds; there, after so many successes, it tries one slot
more. Only the answer of that one request, the probe, lets it go on, by slow start: others above
the ceiling may be there because the probe's 429 is on its way.

Only a 429 cuts. What fails otherwise, is answered without being sent, or needed more than one
attempt changes nothing, and a Retry-After delays its own call above this: never the controller.
Nothing grows while less than `SATURATED` of the limit is under way, because successes then show
nothing about the limit. There is no clock in it, so nothing can freeze it.
"""

from typing import NamedTuple

__all__ = ["AdaptiveConcurrency", "SendMark"]

CUT = 0.8
"""Part of the limit that a 429 leaves."""

SATURATED = 0.8
"""Part of the limit that must be under way for a success to count."""

_PROBE_SUCCESSES = 40
"""Successes after a cut before more than the ceiling is tried; at least five rounds of the limit.
So about one request in 40 is a 429 where the capacity is small and constant."""


class SendMark(NamedTuple):
    """The state of the controller when a request was sent.

    Args:
        under_way: requests under way, this one included.
        episode: cuts before it.
        is_saturated: whether that was close to the limit.
        is_probe: whether it is the one that tries more than the ceiling.
    """

    under_way: int
    episode: int
    is_saturated: bool
    is_probe: bool


class AdaptiveConcurrency:
    """A limit on requests under way that follows the endpoint's capacity.

    Args:
        start: the limit at first.
        most: never more than this.

    Attributes:
        cuts: how often a 429 has cut the limit.
    """

    def __init__(self, start: int, most: int) -> None:
        self._limit = float(min(start, most))
        self._most = most
        self._ceiling: int | None = None
        self._successes = 0
        self._is_probed = False
        self.cuts = 0

    @property
    def limit(self) -> int:
        """Most requests under way now; at least 1."""
        return int(self._limit)

    def sent(self, under_way: int) -> SendMark:
        """Return the mark of a request that is sent now, as one of so many under way."""
        is_probe = self._ceiling is not None and under_way > self._ceiling and not self._is_probed
        if is_probe:
            self._is_probed = True
        is_saturated = under_way >= SATURATED * self.limit
        return SendMark(under_way, self.cuts, is_saturated, is_probe)

    def succeeded(self, mark: SendMark) -> None:
        """Count the answer of a request that was its call's first attempt."""
        if mark.episode != self.cuts:
            return
        if mark.is_probe:
            self._ceiling = None
        if not mark.is_saturated:
            return
        ceiling = self._ceiling
        self._successes += 1
        if ceiling is None:
            self._limit += 1.0
        elif self._limit < ceiling:
            growth = max(ceiling - self._limit, 1.0) / self._limit
            self._limit = min(self._limit + growth, float(ceiling))
        elif self._limit == ceiling and self._successes >= max(_PROBE_SUCCESSES, 5 * ceiling):
            self._limit = ceiling + 1.0
        self._limit = min(self._limit, float(self._most))

    def rate_limited(self, mark: SendMark) -> None:
        """Count a 429."""
        if mark.episode != self.cuts:
            return
        self.cuts += 1
        self._successes = 0
        self._is_probed = False
        self._ceiling = max(mark.under_way - 1, 1)
        self._limit = max(float(int(self._limit * CUT)), 1.0)

    def ended(self, mark: SendMark) -> None:
        """Note that a request ended otherwise: another one may be the probe."""
        if mark.is_probe and mark.episode == self.cuts:
            self._is_probed = False
