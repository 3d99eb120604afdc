"""Scripts of the shared budget: what runs on the server, each whole or not at all.

Amounts are whole numbers of up to 18 digits, as text: numbers of Lua are exact to 15 digits
only, which 1,000 USD in picodollars reach. They are added by the server's own 64-bit commands,
and compared digit by digit.

Keys of a budget, all with one prefix:

    about    hash: version of this format, limits, the last token, the token of each process
    counts   hash: per scope and quantity what is used: spent, or reserved by a living process;
             and per process what it has spent, as it last reported
    leases   sorted set: the tokens of living processes by the server's time of their end
    held:N   hash: what the process of token N has reserved, by number of the reservation

Each script may be performed twice with the same effect as once.
"""

from callwise.budget.fleet.redis_link import Script

__all__ = ["BEAT", "FORMAT", "JOIN", "LEAVE", "RESERVE", "SETTLE"]

FORMAT = 1
"""Version of the keys. Changes when an older process could not read them."""

_COMMON = """
local about, counts, leases, held = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local QUANTITIES = {'calls', 'requests', 'tokens', 'picodollars'}

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function negative(amount)
  if amount:sub(1, 1) == '-' then return amount:sub(2) end
  return '-' .. amount
end

local function exceeds(amount, limit)
  if amount:sub(1, 1) == '-' then return false end
  if #amount ~= #limit then return #amount > #limit end
  return amount > limit
end

local function used_field(scope, quantity) return 'used ' .. scope .. ' ' .. quantity end

local function add(field, amount)
  if amount ~= '0' and amount ~= '-0' then redis.call('HINCRBY', counts, field, amount) end
end

-- A record is four amounts and the scopes that they are reserved in, separated by spaces.
local function release(record)
  local words = {}
  for word in record:gmatch('%S+') do words[#words + 1] = word end
  for i = 5, #words do
    for j, quantity in ipairs(QUANTITIES) do
      add(used_field(words[i], quantity), negative(words[j]))
    end
  end
end

local function drop(token)
  local key = held .. token
  local records = redis.call('HVALS', key)
  for _, record in ipairs(records) do release(record) end
  redis.call('DEL', key)
  redis.call('ZREM', leases, token)
end

local function drop_dead(now)
  local dead = redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. now)
  for _, token in ipairs(dead) do drop(token) end
end
"""

JOIN = Script(
    _COMMON
    + """
-- ARGV: process, format, limits, milliseconds of a lease
for i, key in ipairs({about, counts, leases}) do
  local kind = redis.call('TYPE', key).ok
  local expected = i == 3 and 'zset' or 'hash'
  if kind ~= 'none' and kind ~= expected then return {'foreign', key, kind} end
end
local format = redis.call('HGET', about, 'format')
if format and format ~= ARGV[2] then return {'format', format} end
local limits = redis.call('HGET', about, 'limits')
if limits and limits ~= ARGV[3] then return {'limits', limits} end
local now = milliseconds()
drop_dead(now)
local earlier = redis.call('HGET', about, 'token ' .. ARGV[1])
if earlier then drop(earlier) end
redis.call('HSET', about, 'format', ARGV[2], 'limits', ARGV[3])
local token = redis.call('HINCRBY', about, 'fence', 1)
redis.call('HSET', about, 'token ' .. ARGV[1], token)
redis.call('ZADD', leases, now + ARGV[4], token)
return {'joined', tostring(token), redis.call('ZCARD', leases)}
"""
)
"""Give a process a token and a lease; what it had reserved under an earlier token is free."""

RESERVE = Script(
    _COMMON
    + """
-- ARGV: token, number, whether it is taken in any case, four amounts, number of scopes; for each
-- scope its name and four limits, empty for none; milliseconds of a lease
local token, number = ARGV[1], ARGV[2]
local now = milliseconds()
drop_dead(now)
if not redis.call('ZSCORE', leases, token) then return {'fenced', '', 0, {}} end
redis.call('ZADD', leases, now + ARGV[#ARGV], token)
local used = {}
local record = table.concat({ARGV[4], ARGV[5], ARGV[6], ARGV[7]}, ' ')
local is_new = redis.call('HEXISTS', held .. token, number) == 0
local refused
for i = 0, ARGV[8] - 1 do
  local first = 9 + i * 5
  record = record .. ' ' .. ARGV[first]
  for j, quantity in ipairs(QUANTITIES) do
    local field, amount, limit = used_field(ARGV[first], quantity), ARGV[3 + j], ARGV[first + j]
    if is_new then add(field, amount) end
    local total = redis.call('HGET', counts, field) or '0'
    if is_new and not refused and ARGV[3] ~= '1' and limit ~= '' and amount ~= '0'
      and exceeds(total, limit) then refused = {ARGV[first], j} end
    used[#used + 1] = total
  end
end
if refused then
  release(record)
  for i = 0, ARGV[8] - 1 do
    for j, quantity in ipairs(QUANTITIES) do
      used[i * 4 + j] = redis.call('HGET', counts, used_field(ARGV[9 + i * 5], quantity)) or '0'
    end
  end
  return {'refused', refused[1], refused[2], used}
end
if is_new then redis.call('HSET', held .. token, number, record) end
return {'reserved', redis.call('HGET', about, 'breakers') or '0', 0, used}
"""
)
"""Reserve amounts in all scopes or in none, and extend the lease."""

SETTLE = Script(
    _COMMON
    + """
-- ARGV: token, number or empty, process, report, number of scopes; for each scope its name and
-- the four amounts that the process has spent in it since it began
local record = ARGV[2] ~= '' and redis.call('HGET', held .. ARGV[1], ARGV[2])
if record then
  redis.call('HDEL', held .. ARGV[1], ARGV[2])
  release(record)
end
for i = 0, ARGV[5] - 1 do
  local first = 6 + i * 5
  local order = 'report ' .. ARGV[3] .. ' ' .. ARGV[first]
  local known = redis.call('HGET', counts, order) or '0'
  if exceeds(ARGV[4], known) then
    redis.call('HSET', counts, order, ARGV[4])
    for j, quantity in ipairs(QUANTITIES) do
      local spent = 'spent ' .. ARGV[3] .. ' ' .. ARGV[first] .. ' ' .. quantity
      local before = redis.call('HGET', counts, spent) or '0'
      local total = used_field(ARGV[first], quantity)
      add(total, ARGV[first + j])
      add(total, negative(before))
      if ARGV[first + j] ~= before then redis.call('HSET', counts, spent, ARGV[first + j]) end
    end
  end
end
return record and 'settled' or 'reported'
"""
)
"""End a reservation, and report what the process has spent in all, whatever became of it.

A report is a sum, not a difference: it may come late, twice, from a process whose lease has
ended, or after the server has lost everything, and the counts are right after it.
"""

BEAT = Script(
    _COMMON
    + """
-- ARGV: token, milliseconds of a lease
local now = milliseconds()
drop_dead(now)
if not redis.call('ZSCORE', leases, ARGV[1]) then return {'fenced', '', 0} end
redis.call('ZADD', leases, now + ARGV[2], ARGV[1])
return {'alive', redis.call('HGET', about, 'breakers') or '0', redis.call('ZCARD', leases)}
"""
)
"""Extend the lease of a living process."""

LEAVE = Script(
    _COMMON
    + """
-- ARGV: process
local token = redis.call('HGET', about, 'token ' .. ARGV[1])
if token then drop(token) end
redis.call('HDEL', about, 'token ' .. ARGV[1])
return {'left'}
"""
)
"""End the lease of a process. What it has spent stays counted."""
