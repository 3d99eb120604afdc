"""Rate limits of several processes: requests and tokens per minute that they send together.

Problem: processes that each keep to the limit of an endpoint pass it together; and a process that
asks the server again and again until it may send waits longer than the others, or polls.

Choice: one script gives a request its time, behind all that were given one before, and takes its
amounts as of that time. So the order is that of asking, no process asks twice, and none waits for
an amount that another one has not used yet. What a request has not used is given back when it has
ended, as far as it was still in the way of others; what it used beyond is a debt, which later ones
wait for.

The times are the server's. Those of what was asked and not yet sent are kept by the process,
which sleeps until then on its own clock: by durations, so that wrong clocks do not matter.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from callwise.budget.fleet.redis_link import RedisLink, Script
from callwise.budget.rate.meters import MINUTE_SECONDS
from callwise.calls.errors import BudgetStoreLost
from callwise.calls.load.rate_limits import RateLimits

__all__ = ["RateScripts", "SharedRates", "SharedTurn"]

FORGET_SECONDS = 3600
"""Time after which the counts of an endpoint that is not asked any more are dropped."""

OPEN_SECONDS = 900
"""Time after which a request counts as ended that its process has not settled."""

SERVER_TIME = """
local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
"""
"""The time by which requests are given turns."""

_LOGGER = logging.getLogger(__name__)

_COMMON = """
local state, open = KEYS[1], KEYS[2]
local function number(text) return tonumber(text) end
local function written(value) return string.format('%.17g', value) end
local function split(text)
  local values = {}
  for word in text:gmatch('%S+') do values[#values + 1] = tonumber(word) end
  return values
end
local function joined(values)
  local words = {}
  for i, value in ipairs(values) do words[i] = written(value) end
  return table.concat(words, ' ')
end
"""

_BUCKET = (
    _COMMON
    + """
-- state: at, used1..used4. open: by id the time, four amounts, and the least that was used since.
local rates = split(ARGV[2])
local fields = redis.call('HMGET', state, 'at', 'used1', 'used2', 'used3', 'used4')
local at, used = number(fields[1] or '0'), {}
for d = 1, 4 do used[d] = number(fields[1 + d] or '0') end

local function drain(time)
  if time > at then
    for d = 1, 4 do
      if rates[d] > 0 then used[d] = math.max(0, used[d] - (time - at) * rates[d] / 1000000) end
    end
    at = time
  end
end

local function each_open(change)
  local all = redis.call('HGETALL', open)
  for i = 1, #all, 2 do
    local record = split(all[i + 1])
    if change(record) then redis.call('HSET', open, all[i], joined(record))
    else redis.call('HDEL', open, all[i]) end
  end
end

local function keep(lifetime)
  redis.call('HSET', state, 'at', written(at), 'used1', written(used[1]), 'used2',
    written(used[2]), 'used3', written(used[3]), 'used4', written(used[4]))
  redis.call('EXPIRE', state, lifetime)
  redis.call('EXPIRE', open, lifetime)
end
"""
)

_TAKE_FROM_BUCKET = (
    _BUCKET
    + """
-- ARGV: id, rates per second (0 for none), amounts, seconds of a full bucket, lifetimes
local known = redis.call('HGET', open, ARGV[1])
local now = microseconds()
if known then return tostring(math.max(0, split(known)[1] - now)) end
local amounts, full = split(ARGV[3]), number(ARGV[4])
drain(now)
local wait = 0
for d = 1, 4 do
  if rates[d] > 0 then
    local missing = used[d] + math.min(amounts[d] - full * rates[d], 0)
    if missing > 1e-6 then wait = math.max(wait, missing / rates[d] * 1000000) end
  end
end
drain(at + math.ceil(wait))
local oldest = now - number(ARGV[6]) * 1000000
each_open(function(record)
  for d = 1, 4 do record[5 + d] = math.min(record[5 + d], used[d]) end
  return record[1] > oldest
end)
local record = {at, amounts[1], amounts[2], amounts[3], amounts[4]}
for d = 1, 4 do
  used[d] = used[d] + amounts[d]
  record[5 + d] = used[d]
end
redis.call('HSET', open, ARGV[1], joined(record))
keep(ARGV[5])
return tostring(math.max(0, at - now))
"""
)

_SETTLE_IN_BUCKET = (
    _BUCKET
    + """
-- ARGV: id, rates per second, amounts that were used, seconds of a full bucket, lifetimes
local known = redis.call('HGET', open, ARGV[1])
if not known then return '0' end
redis.call('HDEL', open, ARGV[1])
local record, amounts = split(known), split(ARGV[3])
drain(microseconds())
local given = {}
for d = 1, 4 do
  local surplus = record[1 + d] - amounts[d]
  if surplus > 0 then
    surplus = math.max(0, math.min(surplus, record[5 + d], used[d]))
  end
  given[d] = surplus
  used[d] = used[d] - surplus
end
each_open(function(other)
  for d = 1, 4 do
    other[5 + d] = math.min(math.max(other[5 + d] - math.max(given[d], 0), 0), used[d])
  end
  return true
end)
keep(ARGV[5])
return '1'
"""
)

_WINDOW = (
    _COMMON
    + """
-- state: at, used1..used4, and by id the four amounts. open: ids by the time at which they left.
local window = number(ARGV[4]) * 1000000
local fields = redis.call('HMGET', state, 'at', 'used1', 'used2', 'used3', 'used4')
local used = {}
for d = 1, 4 do used[d] = number(fields[1 + d] or '0') end

local function add(amounts, sign)
  for d = 1, 4 do used[d] = used[d] + sign * amounts[d] end
end

local function forget(id)
  add(split(redis.call('HGET', state, 'id ' .. id)), -1)
  redis.call('HDEL', state, 'id ' .. id)
  redis.call('ZREM', open, id)
  if redis.call('ZCARD', open) == 0 then used = {0, 0, 0, 0} end
end

local function keep(at, lifetime)
  redis.call('HSET', state, 'at', written(at), 'used1', written(used[1]), 'used2',
    written(used[2]), 'used3', written(used[3]), 'used4', written(used[4]))
  redis.call('EXPIRE', state, lifetime)
  redis.call('EXPIRE', open, lifetime)
end
"""
)

_TAKE_FROM_WINDOW = (
    _WINDOW
    + """
-- ARGV: id, limits of a window (0 for none), amounts, seconds of the window, lifetime
local known = redis.call('ZSCORE', open, ARGV[1])
local now = microseconds()
if known then return tostring(math.max(0, number(known) - now)) end
local limits, amounts = split(ARGV[2]), split(ARGV[3])
local leaves = math.max(now, number(fields[1] or '0'))
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', written(leaves - window))) do
  forget(id)
end
local function is_over()
  for d = 1, 4 do
    local most = limits[d] + 1e-6
    if limits[d] > 0 and used[d] > 0 and used[d] + amounts[d] > most then return true end
  end
  return false
end
while is_over() do
  local oldest = redis.call('ZRANGE', open, 0, 0, 'WITHSCORES')
  if #oldest == 0 then break end
  leaves = math.max(leaves, number(oldest[2]) + window)
  forget(oldest[1])
end
add(amounts, 1)
redis.call('HSET', state, 'id ' .. ARGV[1], joined(amounts))
redis.call('ZADD', open, written(leaves), ARGV[1])
keep(leaves, ARGV[5])
return tostring(math.max(0, leaves - now))
"""
)

_SETTLE_IN_WINDOW = (
    _WINDOW
    + """
-- ARGV: id, limits of a window, amounts that were used, seconds of the window, lifetime
local known = redis.call('HGET', state, 'id ' .. ARGV[1])
if not known then return '0' end
local amounts = split(ARGV[3])
add(split(known), -1)
add(amounts, 1)
redis.call('HSET', state, 'id ' .. ARGV[1], joined(amounts))
keep(number(fields[1]), ARGV[5])
return '1'
"""
)


class RateScripts:
    """The scripts that take and settle turns, by the window of the limits.

    Args:
        time: a function of Lua that returns the time in microseconds.
    """

    def __init__(self, time: str = SERVER_TIME) -> None:
        self.take = {
            "bucket": Script(time + _TAKE_FROM_BUCKET),
            "sliding": Script(time + _TAKE_FROM_WINDOW),
        }
        self.settle = {
            "bucket": Script(time + _SETTLE_IN_BUCKET),
            "sliding": Script(time + _SETTLE_IN_WINDOW),
        }


_SCRIPTS = RateScripts()


class SharedTurn(NamedTuple):
    """The turn of one request, and what it takes of the limits.

    Args:
        number: of the request, in all processes.
        keys: what is counted of its endpoint.
        amounts: requests, tokens, input tokens and output tokens that it was given.
        wait_seconds: time until it may leave.
    """

    number: str
    keys: tuple[str, ...]
    limits: RateLimits
    amounts: tuple[float, ...]
    wait_seconds: float = 0.0


class SharedRates:
    """The part of one process in the rate limits of several.

    Args:
        name: processes of one name share.
        make_link: returns the link to the server.
    """

    def __init__(
        self, name: str, make_link: Callable[[], RedisLink], *, scripts: RateScripts = _SCRIPTS
    ) -> None:
        self._prefix = f"callwise:{{{name}}}:rate:"
        self._make_link = make_link
        self._scripts = scripts
        self._process = uuid.uuid4().hex[:12]
        self._count = self._lost = 0
        self._waited_seconds = 0.0

    async def take(self, endpoint: str, limits: RateLimits, amounts: Sequence[float]) -> SharedTurn:
        """Return the turn of a request at an endpoint, behind all that were given before.

        Args:
            amounts: requests, tokens, input tokens and output tokens, by estimate.

        Raises:
            BudgetStoreLost: when the server cannot be reached.
            ConfigError: when it cannot be used.
        """
        self._count += 1
        way = "window" if limits.window == "sliding" else "bucket"
        key = f"{self._prefix}{endpoint}:{way}"
        number = f"{self._process}-{self._count}"
        turn = SharedTurn(number, (key, f"{key}:open"), limits, tuple(amounts))
        try:
            reply = await self._run(self._scripts.take[limits.window], turn, turn.amounts)
        except BudgetStoreLost:
            self._lost += 1
            raise
        except BaseException:
            self.settle(turn, (0.0,) * len(turn.amounts))
            raise
        wait_seconds = float(reply) / 1e6
        self._waited_seconds += wait_seconds
        return turn._replace(wait_seconds=wait_seconds)

    def settle(self, turn: SharedTurn, used: Sequence[float]) -> None:
        """Correct a turn to what was used. Does not wait.

        Where the server is lost, what was given counts, until its minute is over.
        """
        try:
            settled = self._run(self._scripts.settle[turn.limits.window], turn, used)
        except RuntimeError:  # the event loop is gone, as the server may be
            return
        settled.add_done_callback(_report)

    def statistics(self) -> Mapping[str, int | float]:
        """Return requests that asked for a turn, seconds that they were given, and lost ones."""
        return {"turns": self._count, "waited_seconds": self._waited_seconds, "lost": self._lost}

    def _run(
        self, script: Script, turn: SharedTurn, amounts: Sequence[float]
    ) -> "asyncio.Future[Any]":
        limits = turn.limits
        is_sliding = limits.window == "sliding"
        seconds = MINUTE_SECONDS + limits.slack_seconds
        if not is_sliding:
            seconds = max(limits.burst_seconds - limits.slack_seconds, 0.0)
        per = 1.0 if is_sliding else MINUTE_SECONDS
        rates = " ".join(repr((each or 0.0) / per) for each in limits.per_minute)
        written = " ".join(repr(float(each)) for each in amounts)
        arguments = (turn.number, rates, written, repr(seconds), FORGET_SECONDS, OPEN_SECONDS)
        return self._make_link().run(script, turn.keys, arguments)


def _report(settled: "asyncio.Future[Any]") -> None:
    error = None if settled.cancelled() else settled.exception()
    if error is not None and not isinstance(error, BudgetStoreLost):
        _LOGGER.error("the shared rate limits have not counted a request: %s", error)
