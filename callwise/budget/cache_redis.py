"""Cache tier in Redis: answers that several processes share.

A reply is a JSON object there, as on disk, under a name with the version of keys in it. The server
ends it by its own clock, so that the clocks of the processes do not matter. A cache is a
convenience: while the server cannot be reached, calls are asked as if nothing were kept, and
the server is tried again only after a pause.
"""

import asyncio
import logging
from math import inf
from typing import Any, NamedTuple, Protocol

from callwise.budget.cache_document import (
    document_of_reply,
    reply_of_document,
)
from callwise.budget.clock import Clock, SystemClock
from callwise.budget.layers.cache import ENDLESS, TTL_SECONDS, KeptReply, Lifetime
from callwise.calls.errors import CallwiseError
from callwise.calls.key import KEY_VERSION, CallKey
from callwise.calls.payload import json_bytes, json_object
from callwise.calls.reply import Reply

__all__ = ["RedisCache", "RedisCacheStatistics", "RedisCommands"]

_LOGGER = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""Time without commands after one that failed, so that not every call waits for a failure."""

MAX_SECONDS = 30 * 86_400.0
"""Longest time for which a reply is kept on the server, which others use too."""


class RedisCommands(Protocol):
    """A connection to a Redis server. Commands that are given together travel together."""

    async def command(self, *arguments: Any) -> Any:
        """Return the reply to a command; texts as bytes.

        Raises:
            CallwiseError: when the server does not answer, or refuses the command.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was given, and close it. Safe to call twice."""
        ...


class RedisCacheStatistics(NamedTuple):
    """Reads and writes that failed, and those that were left out in the pauses after that."""

    failed_reads: int
    failed_writes: int
    left_out: int


class RedisCache:
    """Keeps replies in a Redis server.

    Args:
        link: the connection. Owned: `aclose` closes it.
        name: processes with the same name share their replies.
        ttl_multiplier: times as long as in memory that a reply is kept whose call named no time;
            above 0. None keeps it for `MAX_SECONDS`.
        clock: of the pauses; None takes the system's.
    """

    tier = "redis"
    waits = True
    ttl_seconds = TTL_SECONDS

    def __init__(
        self,
        link: RedisCommands,
        name: str = "callwise",
        *,
        ttl_multiplier: float | None = 2.0,
        clock: Clock | None = None,
    ) -> None:
        if ttl_multiplier is not None and not ttl_multiplier > 0:
            raise ValueError(f"ttl_multiplier is above 0, or None; got {ttl_multiplier}")
        self._link = link
        self._prefix = f"{name}:cache:{KEY_VERSION}:"
        self._ttl_multiplier = inf if ttl_multiplier is None else ttl_multiplier
        self._now = (clock or SystemClock()).now
        self._paused_until_seconds = -inf
        self._failed_reads = 0
        self._failed_writes = 0
        self._left_out = 0

    def peek(self, key: CallKey) -> None:
        """Return None: nothing is in memory."""
        del key

    async def get(self, key: CallKey) -> KeptReply | None:
        """Return a reply, or None."""
        if self._is_paused():
            return None
        name, link = self._prefix + key, self._link
        try:
            data, left_ms = await asyncio.gather(
                link.command("GET", name), link.command("PTTL", name)
            )
            # PTTL is -1 without an end, and -2 for what has ended between the two commands.
            if data is None or left_ms == 0 or left_ms < -1:
                return None
            lifetime = ENDLESS if left_ms == -1 else Lifetime(left_ms / 1000)
            return KeptReply(reply_of_document(json_object(data)), self.tier, lifetime)
        except (CallwiseError, OSError) as error:
            self._failed_reads += 1
            self._pause("read from", error)
        except (TypeError, ValueError) as error:
            self._failed_reads += 1
            _LOGGER.warning("cannot use %s, which is no reply: %r", name, error)
        return None

    async def put(self, key: CallKey, reply: Reply, lifetime: Lifetime = ENDLESS) -> None:
        """Keep a reply if that is possible."""
        if self._is_paused():
            return
        seconds = min(lifetime.extended(self._ttl_multiplier).seconds, MAX_SECONDS)
        ends = ("PX", max(round(seconds * 1000), 1))
        data = json_bytes(document_of_reply(reply))
        try:
            await self._link.command("SET", self._prefix + key, data, *ends)
        except (CallwiseError, OSError) as error:
            self._failed_writes += 1
            self._pause("write to", error)

    def statistics(self) -> RedisCacheStatistics:
        """Return what it could not do so far."""
        return RedisCacheStatistics(self._failed_reads, self._failed_writes, self._left_out)

    async def aclose(self) -> None:
        """Close the connection. Safe to call twice."""
        await self._link.aclose()

    def _is_paused(self) -> bool:
        is_paused = self._now() < self._paused_until_seconds
        self._left_out += is_paused
        return is_paused

    def _pause(self, action: str, error: Exception) -> None:
        self._paused_until_seconds = self._now() + PAUSE_SECONDS
        _LOGGER.warning("cannot %s the cache in Redis for %g s: %s", action, PAUSE_SECONDS, error)
