"""Layer `cache`: an equal call gets the answer that was already paid for.

Only usable answers of calls that may share (`Call.is_shared`) are ever put in: no refusal, no
error, nothing empty, nothing that did not fit its response model. A key contains the sample
index, so an intended resample never gets an earlier sample's answer.

An answer is kept for the time that its call names, else for that of its kind of work. A time
that a call names is the longest in every tier. On a virtual clock nothing ends: no time passes
there.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import NamedTuple, Protocol

from callwise.budget.cache_eviction import Lru2Map
from callwise.budget.clock import Clock, SystemClock
from callwise.budget.in_flight import InFlightCall, ReadReply, read_reply
from callwise.calls.call import Call, Outcome
from callwise.calls.key import CallKey
from callwise.calls.kinds import KINDS, WorkKind, kind_of
from callwise.calls.reply import Reply

__all__ = [
    "ENDLESS",
    "TTL_SECONDS",
    "CacheLayer",
    "KeptReply",
    "Lifetime",
    "MemoryCache",
    "ReplyCache",
]

TTL_SECONDS: Mapping[WorkKind, float] = {
    kind: defaults.cache_ttl_seconds for kind, defaults in KINDS.items()
}
"""Time for which an answer is kept where its call names none, by the kind of work."""

MAX_CLOCK_STEP_SECONDS = 60.0
"""Longest step back of a clock, as when it is set right, after which an answer is still used."""


class Lifetime(NamedTuple):
    """Time for which an answer is kept.

    Args:
        seconds: from now; infinite for no end.
        is_fixed: whether no tier may keep it longer, because its call named the time.
    """

    seconds: float = inf
    is_fixed: bool = False

    def left_at(self, age_seconds: float) -> "Lifetime | None":
        """Return what is left at an age, or None when it is over.

        A negative age is that of an answer whose clock was set back. By more than a minute, its
        age is not known, and it is over.
        """
        if self.seconds == inf:
            return self
        left_seconds = self.seconds - max(age_seconds, 0.0)
        if age_seconds < -MAX_CLOCK_STEP_SECONDS or not left_seconds > 0:
            return None
        return Lifetime(left_seconds, self.is_fixed)

    def extended(self, multiplier: float) -> "Lifetime":
        """Return a lifetime so many times as long, unless it is fixed."""
        return self if self.is_fixed else Lifetime(self.seconds * multiplier)


ENDLESS = Lifetime()


class KeptReply(NamedTuple):
    """A reply, the tier that had it, and how much longer it is kept."""

    reply: Reply
    tier: str
    lifetime: Lifetime


class ReplyCache(Protocol):
    """A store of replies by the identity of their call: one tier, or several together."""

    @property
    def tier(self) -> str:
        """Name of the tier in statistics; of several, that of the first."""
        ...

    @property
    def waits(self) -> bool:
        """Whether `get` finds replies that `peek` does not."""
        ...

    @property
    def ttl_seconds(self) -> Mapping[WorkKind, float]:
        """Time for which an answer is kept where its call names none, by the kind of work."""
        ...

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply that is in memory. Never waits."""
        ...

    async def get(self, key: CallKey) -> KeptReply | None:
        """Return a reply from wherever it is kept, or None. Never blocks the loop."""
        ...

    async def put(self, key: CallKey, reply: Reply, lifetime: Lifetime = ENDLESS) -> None:
        """Keep a reply. A failure is logged, and not raised."""
        ...

    async def aclose(self) -> None:
        """Release its files and memory. Safe to call twice."""
        ...


class _MemoryEntry:
    """A reply in memory, and the times between which it is used."""

    __slots__ = ("ends_at_seconds", "hits", "is_fixed", "kept_at_seconds", "reply")

    def __init__(self, reply: Reply, lifetime: Lifetime, now_seconds: float) -> None:
        self.reply = reply
        self.kept_at_seconds = now_seconds
        self.ends_at_seconds = now_seconds + lifetime.seconds
        self.is_fixed = lifetime.is_fixed
        self.hits = 0

    def left_at(self, now_seconds: float) -> Lifetime | None:
        """Return what is left of its lifetime, or None when it is over."""
        whole = Lifetime(self.ends_at_seconds - self.kept_at_seconds, self.is_fixed)
        return whole.left_at(now_seconds - self.kept_at_seconds)

    def extend(self, multiplier: float) -> None:
        """Keep it so many times as long, unless its lifetime is fixed."""
        if not self.is_fixed:
            seconds = self.ends_at_seconds - self.kept_at_seconds
            self.ends_at_seconds = self.kept_at_seconds + seconds * multiplier


class MemoryCache:
    """Keeps replies in memory. When it is full, LRU-2 decides which one is dropped.

    A reply that is over stays until it is replaced or dropped, and is not handed out.

    Args:
        max_entries: most replies kept; at least 1.
        hot_hits: a reply that was used so often is hot.
        hot_ttl_multiplier: a hot reply is kept so many times as long, from when it was put in;
            at least 1.
        clock: None takes the system's.
    """

    tier = "memory"
    waits = False
    ttl_seconds = TTL_SECONDS

    def __init__(
        self,
        max_entries: int = 10_000,
        *,
        hot_hits: int = 10,
        hot_ttl_multiplier: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        if hot_hits < 1:
            raise ValueError(f"hot_hits is at least 1, got {hot_hits}")
        if not hot_ttl_multiplier >= 1:
            raise ValueError(f"hot_ttl_multiplier is at least 1, got {hot_ttl_multiplier}")
        self._replies: Lru2Map[CallKey, _MemoryEntry] = Lru2Map(max_entries)
        self._hot_hits = hot_hits
        self._hot_ttl_multiplier = hot_ttl_multiplier
        self._now = (clock or SystemClock()).now

    def __len__(self) -> int:
        return len(self._replies)

    def peek(self, key: CallKey) -> Reply | None:
        """Return a reply, which counts as a use, or None."""
        entry = self._replies.get(key)
        if entry is None:
            return None
        # `Lifetime.left_at` without its objects: this is the hot path.
        since_seconds = entry.kept_at_seconds - MAX_CLOCK_STEP_SECONDS
        if entry.ends_at_seconds != inf and not (
            since_seconds <= self._now() < entry.ends_at_seconds
        ):
            return None
        entry.hits += 1
        if entry.hits == self._hot_hits:
            entry.extend(self._hot_ttl_multiplier)
        return entry.reply

    async def get(self, key: CallKey) -> KeptReply | None:
        """Return a reply, which counts as a use, or None."""
        entry = self._replies.get(key)
        lifetime = None if entry is None else entry.left_at(self._now())
        if entry is None or lifetime is None:
            return None
        return KeptReply(entry.reply, self.tier, lifetime)

    async def put(self, key: CallKey, reply: Reply, lifetime: Lifetime = ENDLESS) -> None:
        """Keep a reply, and drop another one when there are too many."""
        self._replies.set(key, _MemoryEntry(reply, lifetime, self._now()))

    async def aclose(self) -> None:
        """Do nothing: memory needs no release."""


class _Reading:
    """A reading of a tier outside of memory, and the number of calls that wait for it."""

    __slots__ = ("future", "waiting_count")

    def __init__(self, future: "asyncio.Future[KeptReply | None]") -> None:
        self.future = future
        self.waiting_count = 0


class CacheLayer:
    """Answers from a cache, and gives calls that may share their place to keep a reply.

    Memory is read synchronously. Equal calls that wait for another tier share one reading, also
    after it has ended, until the last of them goes on. The first to go on after a miss starts
    work before it awaits anything: so while a reading is waited for, no equal call is
    answered, and what it found is never outdated.

    Args:
        is_under_way: returns whether equal work is under way, which `share` joins.
    """

    def __init__(
        self,
        cache: ReplyCache,
        is_under_way: Callable[[CallKey], bool],
        clock: Clock,
        *,
        next: Callable[[InFlightCall], Awaitable[ReadReply]],  # noqa: A002
    ) -> None:
        self._cache = cache
        self._is_under_way = is_under_way
        self._is_timeless = clock.is_virtual
        self._next = next
        self._readings: dict[CallKey, _Reading] = {}
        self._hits: Counter[tuple[str, str]] = Counter()
        self._misses: Counter[str] = Counter()

    def __call__(self, carried: InFlightCall) -> Awaitable[ReadReply]:
        """Return a kept answer, or that of the layer below."""
        return self._cached(carried) if carried.call.is_shared else self._next(carried)

    async def _cached(self, carried: InFlightCall) -> ReadReply:
        call = carried.call
        reply, tier = await self._kept(carried.key)
        if reply is not None:
            answer = read_reply(call, reply)
            # One that was put in by a warm-up need not fit.
            if answer.invalid is None:
                self._hits[tier, call.purpose] += 1
                carried.finish(Outcome.CACHED)
                return answer
        self._misses[call.purpose] += 1
        lifetime = self._lifetime(call)
        if lifetime.seconds > 0:
            carried.store = partial(self._cache.put, lifetime=lifetime)
        return await self._next(carried)

    def statistics(self) -> Mapping[str, int]:
        """Return how many calls that may share were answered here, and how many were not.

        The hits are also counted by tier, as `memory_hits`, and by tier and purpose, as
        `memory_hits_embed`; the misses by purpose, as `misses_embed`.
        """
        counts = Counter({"hits": self._hits.total(), "misses": self._misses.total()})
        for (tier, purpose), hits in self._hits.items():
            counts[f"{tier}_hits"] += hits
            counts[f"{tier}_hits_{purpose}"] += hits
        for purpose, misses in self._misses.items():
            counts[f"misses_{purpose}"] += misses
        return dict(counts)

    def _lifetime(self, call: Call) -> Lifetime:
        if self._is_timeless:
            return ENDLESS
        if call.cache_ttl_seconds is not None:
            return Lifetime(call.cache_ttl_seconds, is_fixed=True)
        return Lifetime(self._cache.ttl_seconds[kind_of(call.purpose)])

    async def _kept(self, key: CallKey) -> tuple[Reply | None, str]:
        """Return a reply and its tier."""
        cache = self._cache
        if self._is_under_way(key):
            return None, ""
        reply = cache.peek(key)
        if reply is not None or not cache.waits:
            return reply, cache.tier
        kept = await self._read(key)
        return (None, "") if kept is None else (kept.reply, kept.tier)

    async def _read(self, key: CallKey) -> KeptReply | None:
        reading = self._readings.get(key)
        if reading is None:
            reading = _Reading(asyncio.ensure_future(self._cache.get(key)))
            self._readings[key] = reading
        reading.waiting_count += 1
        try:
            return await asyncio.shield(reading.future)
        finally:
            reading.waiting_count -= 1
            if not reading.waiting_count:
                del self._readings[key]
