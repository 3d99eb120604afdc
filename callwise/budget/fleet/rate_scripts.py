"""Scripts of the shared rate limits: a request takes from all limits that cover it, or from none.

Each limit has a line: what is in use of it, and the requests that have been given a time and not
yet been settled. A line is one value of the server, in the order of those times. A request gets
the earliest time at which it fits all its lines and delays none that was given a time before; so
one that must wait for the limit of its user is not in the way of other users' requests.

A bucket is kept as what is missing from it now, and a window as the requests of its last minute,
where those that are settled and close together are counted as one of the later time.

Each script may be performed twice with the same effect as once.
"""

from callwise.budget.fleet.redis_link import Script

__all__ = ["RateScripts"]

SERVER_TIME = """
local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
"""
"""The time by which requests are given turns."""

_LINES = """
-- KEYS: lines. ARGV: id, bucket or sliding, seconds of a full bucket or of the window, seconds
-- after which an unused line is dropped and after which an open request counts as ended; for each
-- line four limits per second or per window, 0 for none, and four amounts.
-- A record is id, time, four amounts and, once its time has come in a bucket, four lows: the least
-- that was in use since. The id of a settled one is empty.
local now = microseconds()
local is_bucket, seconds = ARGV[2] == 'bucket', tonumber(ARGV[3])
local span, TINY = seconds * 1000000, 1e-6

local function split(text)
  local values = {}
  for word in text:gmatch('%S+') do values[#values + 1] = tonumber(word) end
  return values
end

local function read(place)
  local text = redis.call('GET', KEYS[place])
  local line = text and cmsgpack.unpack(text) or {at = 0, used = {0, 0, 0, 0}, open = {}}
  line.key, line.limits = KEYS[place], split(ARGV[4 + place * 2])
  line.amounts, line.speed = split(ARGV[5 + place * 2]), 1
  return line
end

local function write(line)
  local text = cmsgpack.pack({at = line.at, used = line.used, open = line.open})
  redis.call('SET', line.key, text, 'EX', ARGV[4])
end

local function find(line, id)
  for place, record in ipairs(line.open) do
    if record[1] == id then return record, place end
  end
end

local function lower(line, records)
  for _, record in ipairs(records) do
    if #record > 6 then
      for d = 1, 4 do record[6 + d] = math.min(record[6 + d], line.used[d]) end
    end
  end
end

local function drain(line, time, records)
  if time <= line.at then return end
  for d = 1, 4 do
    local left = (time - line.at) * line.limits[d] * line.speed / 1000000
    line.used[d] = math.max(line.used[d] - left, 0)
  end
  line.at = time
  lower(line, records)
end

local function fold_bucket(line)
  local kept, oldest = {}, now - ARGV[5] * 1000000
  for _, record in ipairs(line.open) do
    if #record == 6 and record[2] <= now then
      drain(line, record[2], kept)
      for d = 1, 4 do
        line.used[d] = line.used[d] + record[2 + d]
        record[6 + d] = line.used[d]
      end
    end
    if record[2] > oldest then kept[#kept + 1] = record end
  end
  drain(line, now, kept)
  line.open = kept
end

local function fold_window(line)
  local kept, cell = {}, math.max(span / 256, 1)
  for _, record in ipairs(line.open) do
    local before = kept[#kept]
    if record[2] > now - span then
      if before and before[1] == '' and record[1] == '' and record[2] <= now
        and math.floor(before[2] / cell) == math.floor(record[2] / cell) then
        for d = 3, 6 do record[d] = record[d] + before[d] end
        kept[#kept] = record
      else
        kept[#kept + 1] = record
      end
    end
  end
  line.open = kept
end

local function fold(line)
  if is_bucket then fold_bucket(line) else fold_window(line) end
end
"""

_TAKE = (
    _LINES
    + """
-- ARGV, further: for each line the factor of its limits while the first line is little used; the
-- part that counts as little. Returns the microseconds until the turn, and the line that it waited
-- for.
local first = 6 + #KEYS * 2

local function used_part(line)
  local most = 0
  for d = 1, 4 do
    if line.limits[d] > 0 then
      local used, limit = line.used[d], line.limits[d] * seconds
      if not is_bucket then
        used, limit = 0, line.limits[d]
        for _, record in ipairs(line.open) do
          if record[2] <= now then used = used + record[2 + d] end
        end
      end
      most = math.max(most, used / math.max(limit, TINY))
    end
  end
  return most
end

-- The earliest time from one on at which an amount fits a bucket, and those to come fit after it.
local function earliest_in_bucket(line, d, from, amount)
  local rate = line.limits[d] * line.speed / 1000000
  local full, coming, allowed = rate * span, {}, {}
  for _, record in ipairs(line.open) do
    if #record == 6 then coming[#coming + 1] = record end
  end
  for i = #coming, 1, -1 do
    local due = coming[i][2 + d]
    allowed[i] = math.max(full - due, 0)
    if i < #coming then
      local later = allowed[i + 1] + rate * (coming[i + 1][2] - coming[i][2]) - due
      allowed[i] = math.min(allowed[i], later)
    end
  end
  local used, at, spare = line.used[d], line.at, math.max(full - amount, 0)
  for i = 0, #coming do
    if i > 0 then
      used = math.max(used - rate * (coming[i][2] - at), 0) + coming[i][2 + d]
      at = coming[i][2]
    end
    local time = math.max(from, at)
    if used - rate * (time - at) > spare + TINY then
      time = at + math.ceil((used - spare) / rate)
    end
    if i == #coming then return time end
    local later = coming[i + 1][2]
    if time <= later then
      local then_used = math.max(used - rate * (time - at), 0) + amount
      if then_used - rate * (later - time) <= allowed[i + 1] + TINY then return time end
    end
  end
end

-- The same for a window: the sum over each window that it would be in stays within the limit.
local function earliest_in_window(line, d, from, amount)
  local time, most = from, line.limits[d] * line.speed + TINY
  while true do
    local sum, oldest, last = 0, 1, nil
    local own, own_oldest = 0, nil
    for _, record in ipairs(line.open) do
      sum = sum + record[2 + d]
      while line.open[oldest][2] <= record[2] - span do
        sum = sum - line.open[oldest][2 + d]
        oldest = oldest + 1
      end
      if record[2] <= time and record[2] > time - span and record[2 + d] > 0 then
        own = own + record[2 + d]
        own_oldest = own_oldest or record[2]
      elseif record[2] > time and record[2] < time + span and record[2 + d] > 0
        and sum + amount > most then last = record[2]
      end
    end
    if own_oldest and own + amount > most then time = own_oldest + span
    elseif last then time = last
    else return time end
  end
end

local lines, leaves, bound = {}, now, 0
for place = 1, #KEYS do
  lines[place] = read(place)
  local known = find(lines[place], ARGV[1])
  if known then return {tostring(math.max(known[2] - now, 0)), 0} end
end
for place, line in ipairs(lines) do
  if place > 1 and used_part(lines[1]) < tonumber(ARGV[first + #KEYS]) then
    line.speed = tonumber(ARGV[first + place - 1])
  end
  fold(line)
end
local function settled()
  local before = leaves
  for place, line in ipairs(lines) do
    for d = 1, 4 do
      if line.limits[d] > 0 and line.amounts[d] > 0 then
        local earliest = is_bucket and earliest_in_bucket or earliest_in_window
        local time = earliest(line, d, leaves, line.amounts[d])
        if time > leaves then leaves, bound = time, place end
      end
    end
  end
  return leaves == before
end
while not settled() do end
for _, line in ipairs(lines) do
  local place = #line.open + 1
  while place > 1 and line.open[place - 1][2] > leaves do place = place - 1 end
  local record = {ARGV[1], leaves, unpack(line.amounts)}
  table.insert(line.open, place, record)
  if is_bucket then fold(line) end
  write(line)
end
return {tostring(leaves - now), bound}
"""
)

_SETTLE = (
    _LINES
    + """
-- The amounts are what was used.
local function settle_in_bucket(line, record, place)
  if #record == 6 then
    table.remove(line.open, place)
    local is_used = false
    for d = 1, 4 do is_used = is_used or line.amounts[d] > 0 end
    if not is_used then return end
    record[2] = now  -- by the clock of the process its time had come
    table.insert(line.open, 1, record)
    fold(line)
    _, place = find(line, record[1])
  end
  table.remove(line.open, place)
  for d = 1, 4 do
    local surplus = record[2 + d] - line.amounts[d]
    if surplus > 0 then
      surplus = math.max(math.min(surplus, record[6 + d], line.used[d]), 0)
    end
    line.used[d] = line.used[d] - surplus
    for _, other in ipairs(line.open) do
      if #other > 6 then
        other[6 + d] = math.max(other[6 + d] - math.max(surplus, 0), 0)
      end
    end
  end
  lower(line, line.open)
end

local function settle_in_window(line, record, place)
  record[1] = ''
  local is_used = false
  for d = 1, 4 do
    record[2 + d] = line.amounts[d]
    is_used = is_used or line.amounts[d] > 0
  end
  if not is_used then table.remove(line.open, place) end
end

for place = 1, #KEYS do
  local line = read(place)
  fold(line)
  local record, at = find(line, ARGV[1])
  if record then
    if is_bucket then settle_in_bucket(line, record, at)
    else settle_in_window(line, record, at) end
    write(line)
  end
end
return '1'
"""
)


class RateScripts:
    """The scripts that give a request its turn and settle it.

    Args:
        time: a function of Lua that returns the time in microseconds.
    """

    def __init__(self, time: str = SERVER_TIME) -> None:
        self.take = Script(time + _TAKE)
        self.settle = Script(time + _SETTLE)
