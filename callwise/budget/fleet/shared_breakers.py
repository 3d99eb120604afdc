"""Circuit breakers of several processes: one that opens in a process is open in the others too.

A process that opens a breaker writes that to the server, with a new version. The version comes with
the reply to each reservation and each heartbeat, so the others read what is open before the
call is sent that found it out, and ask nothing while nothing changes. Each process makes its own
trials when the time is over, and closes its breaker by itself.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from callwise.budget.breaker import Breakers
from callwise.budget.fleet.redis_link import RedisLink, Script
from callwise.calls.errors import BudgetStoreLost, ConfigError

__all__ = ["SharedBreakers"]

MAX_REASON = 300
"""Longest reason that is passed on, in characters."""

_LOGGER = logging.getLogger(__name__)

_TIME = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_OPEN = Script(
    _TIME
    + """
-- KEYS: about, breakers. ARGV: endpoint and model, milliseconds, reason
redis.call('HSET', KEYS[2], ARGV[1], (now + ARGV[2]) .. ' ' .. ARGV[3])
return tostring(redis.call('HINCRBY', KEYS[1], 'breakers', 1))
"""
)

_READ = Script(
    _TIME
    + """
-- KEYS: about, breakers. Returns the version, and for each breaker its name, milliseconds, reason
local open = {redis.call('HGET', KEYS[1], 'breakers') or '0'}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local ends, reason = all[i + 1]:match('^(%d+) (.*)$')
  if ends and tonumber(ends) > now then
    open[#open + 1] = {all[i], tostring(ends - now), reason}
  else
    redis.call('HDEL', KEYS[2], all[i])
  end
end
return open
"""
)


class SharedBreakers:
    """The part of one process in the breakers of several.

    Args:
        name: processes of one name share.
        make_link: returns the link to the server.
    """

    def __init__(self, name: str, make_link: Callable[[], RedisLink]) -> None:
        prefix = f"callwise:{{{name}}}:"
        self._keys = (f"{prefix}about", f"{prefix}breakers")
        self._make_link = make_link
        self._breakers: Breakers | None = None
        self._version = b"0"
        self.opened_elsewhere = 0
        """Number of times a breaker was opened because another process had opened it."""

    def connect(self, breakers: Breakers) -> None:
        """Share the breakers of this process from now on."""
        self._breakers = breakers
        breakers.on_trip = self._tell

    def _tell(self, endpoint: str, model: str, seconds: float, reason: str) -> None:
        """Say on the server that a breaker has opened. Does not wait."""
        name = f"{quote(endpoint, safe='')} {quote(model, safe='')}"
        arguments = (name, max(round(seconds * 1000), 1), reason[:MAX_REASON].replace("\n", " "))
        said = self._make_link().run(_OPEN, self._keys, arguments)
        said.add_done_callback(_report)

    async def see(self, version: bytes) -> None:
        """Open what others have opened, where the version is another than before."""
        breakers = self._breakers
        if breakers is None or version == self._version:
            return
        try:
            self._version, *found = await self._make_link().run(_READ, self._keys, ())
        except (BudgetStoreLost, ConfigError) as error:
            _LOGGER.warning("cannot read the breakers of other processes: %s", error)
            return
        for name, milliseconds, reason in found:
            endpoint, model = (unquote(part) for part in name.decode().split(" "))
            self.opened_elsewhere += breakers.open_as_elsewhere(
                endpoint, model, float(milliseconds) / 1000, reason.decode()
            )


def _report(said: "asyncio.Future[Any]") -> None:
    """Log what a server refuses. One that is lost opens nothing elsewhere: others find out too."""
    error = None if said.cancelled() else said.exception()
    if error is not None and not isinstance(error, BudgetStoreLost):
        _LOGGER.error("other processes are not informed of a breaker that opened: %s", error)
