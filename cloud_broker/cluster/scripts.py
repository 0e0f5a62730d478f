"""Holds the Lua scripts that run inside Redis: decide, restore, compare-and-set.

They repeat the rules of ``gcra`` and ``circuit_breaker.may_pass``; one test suite covers both.
Numbers are whole microseconds below 2^53, which Lua's doubles represent exactly.
"""

from __future__ import annotations

from cloud_broker.cluster.redis import Script
from cloud_broker.cluster.usage_snapshot import KEPT
from cloud_broker.limits.circuit_breaker import PROBE_S, PROBE_WAIT_S
from cloud_broker.limits.gcra import to_us

# A full Redis refuses a write unless the script has deleted something before. So each script begins
# with a DEL or ZREMRANGEBYSCORE: limits hold in a full Redis too.
# put: set a key with its life in ms; nil keeps its life. stay: extend a key's life to that many ms.
_KEYS = """
local function put(key, value, life)
  life = life or redis.call('PTTL', key)
  redis.call('DEL', key)
  if life < 0 then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', math.max(1, life))
  end
end
local function stay(key, life)
  if redis.call('PTTL', key) < life then
    redis.call('PEXPIRE', key, life)
  end
end
"""

_NOW = """
local now = tonumber(ARGV[1])
if now < 0 then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
"""

# KEYS: epoch, one for each check, one for each breaker.
# ARGV: now (-1: Redis's clock), longest wait, nonce, number of checks, then for each check:
#   kind (w or b), limit or burst, span or interval, epoch of the caller's last count,
#   number of own starts unknown to Redis, age and name of each of those.
# Answer: -1 and the epoch when Redis lost the memory that the caller knew; nothing was done. Else
#   allowed, wait, refused (0, or n for the n-th key after the epoch), now, epoch, then left and
#   reset of each check, then 1 or 0 (is the probe) and the state of each breaker.
DECIDE = Script(
    _KEYS
    + _NOW
    + """
local max_wait, nonce, n = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = nonce
  put(KEYS[1], epoch)
end

local checks, at = {}, 5
for i = 1, n do
  local known, own = ARGV[at + 3], tonumber(ARGV[at + 4])
  if known ~= '' and known ~= epoch then
    return {-1, epoch}
  end
  checks[i] = {key = KEYS[i + 1], kind = ARGV[at], size = tonumber(ARGV[at + 1]),
             unit = tonumber(ARGV[at + 2]), first = at + 5, own = own}
  at = at + 5 + 2 * own
end
for i, check in ipairs(checks) do
  if check.kind == 'w' then
    redis.call('ZREMRANGEBYSCORE', check.key, '-inf', now - check.unit)
    for j = check.first, check.first + 2 * check.own - 2, 2 do
      redis.call('ZADD', check.key, now - tonumber(ARGV[j]), ARGV[j + 1])
    end
    stay(check.key, math.ceil(check.unit / 1000) + 1000)
    check.card = redis.call('ZCARD', check.key)
  else
    check.full = tonumber(redis.call('GET', check.key) or '0')
  end
end

local start, refused, probes, states = now, 0, {}, {}
for i = n + 2, #KEYS do
  local state = redis.call('GET', KEYS[i]) or ''
  states[#states + 1] = state
  probes[#probes + 1] = 0
  if state ~= '' then
    local closed, tripped, probe = string.match(state, '^(%d+),%d+,%-?%d+,(%d),(%d+)$')
    closed, probe = tonumber(closed), tonumber(probe)
    local opens = now
    if now < closed then
      opens = closed
    elseif tripped == '1' then
      if now < probe then
        opens = math.min(probe, now + PROBE_WAIT)
      else
        probes[#probes] = 1
      end
    end
    if opens > start then
      start, refused = opens, i - 1
    end
  end
end

if refused == 0 then
  for i, check in ipairs(checks) do
    local earliest = now
    if check.kind == 'w' then
      if check.card >= check.size then
        local last = redis.call('ZRANGE', check.key, -check.size, -check.size, 'WITHSCORES')
        earliest = math.max(now, tonumber(last[2]) + check.unit)
      end
    else
      earliest = math.max(now, check.full - (check.size - 1) * check.unit)
    end
    if earliest > start then
      start, refused = earliest, i
    end
  end
  if start - now <= max_wait then
    refused = 0
  end
end

local allowed = refused == 0
if allowed then
  for i, check in ipairs(checks) do
    if check.kind == 'w' then
      redis.call('ZADD', check.key, start, nonce)
      redis.call('ZREMRANGEBYRANK', check.key, 0, -check.size - 1)
      stay(check.key, math.ceil((start + check.unit - now) / 1000) + 1000)
    else
      check.full = math.max(check.full, start) + check.unit
      local life = math.ceil((check.full - now) / 1000) + 1000
      put(check.key, string.format('%.0f', check.full), life)
    end
  end
  for g, mine in ipairs(probes) do
    if mine == 1 then
      local state = string.gsub(states[g], '%d+$', string.format('%.0f', now + PROBE))
      put(KEYS[n + 1 + g], state)
      states[g] = state
    end
  end
else
  for g in ipairs(probes) do
    probes[g] = 0
  end
end

local answer = {allowed and 1 or 0, start - now, refused, string.format('%.0f', now), epoch}
for i, check in ipairs(checks) do
  local left, reset = 0, 0
  if check.kind == 'w' then
    local used = redis.call('ZCARD', check.key)
    left = math.max(0, check.size - used)
    if used > 0 then
      local first = redis.call('ZRANGE', check.key, 0, 0, 'WITHSCORES')
      reset = math.max(0, tonumber(first[2]) + check.unit - now)
    end
  else
    local missing = math.max(0, check.full - now)
    local used = math.ceil(missing / check.unit)
    left = math.max(0, check.size - used)
    if used > 0 then
      reset = missing - (used - 1) * check.unit
    end
  end
  answer[#answer + 1] = left
  answer[#answer + 1] = reset
end
for g, mine in ipairs(probes) do
  answer[#answer + 1] = mine
  answer[#answer + 1] = states[g]
end
return answer
""".replace("PROBE_WAIT", str(to_us(PROBE_WAIT_S))).replace("PROBE)", f"{to_us(PROBE_S)})")
)

# Restores one broker's knowledge of a window in a Redis that lost its memory.
# KEYS: the window. ARGV: now (-1: Redis's clock), limit, span, starts of other brokers in the last
#   count, age of that count, then age and name of each own start, the oldest first.
# An own start counts once, however often it is reported. For starts of other brokers that are not
# reported yet the script adds placeholders ("standin:n"); each reported start replaces one.
RESTORE = Script(
    _KEYS
    + _NOW
    + """
local key, size, unit = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local others, counted_at = tonumber(ARGV[4]), now - tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - unit)

local placeholders, taken = {}, {}
local found = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for j = 1, #found, 2 do
  if string.sub(found[j], 1, 8) == 'standin:' then
    placeholders[#placeholders + 1] = {name = found[j], at = tonumber(found[j + 1])}
    taken[found[j]] = true
  end
end

local mine = 0  -- own starts that the count included, which ZCOUNT below finds again
local k = 1  -- the first placeholder that may still be replaced; both lists are in order
for j = 6, #ARGV, 2 do
  local start = now - tonumber(ARGV[j])
  if start <= counted_at then
    mine = mine + 1
  end
  if redis.call('ZADD', key, start, ARGV[j + 1]) == 1 then
    while placeholders[k] and placeholders[k].at < start do
      k = k + 1
    end
    if placeholders[k] then
      redis.call('ZREM', key, placeholders[k].name)
      placeholders[k].is_gone = true
      k = k + 1
    end
  end
end

-- A placeholder of a later count also represents starts of earlier counts.
local there = -mine
for _, one in ipairs(placeholders) do
  if one.at > counted_at and not one.is_gone then
    there = there + 1
  end
end
local lacking = others - there - redis.call('ZCOUNT', key, '-inf', counted_at)
local n = 0
for _ = 1, math.min(lacking, size, KEPT) do
  repeat
    n = n + 1
  until not taken['standin:' .. n]
  redis.call('ZADD', key, counted_at, 'standin:' .. n)
end
stay(key, math.ceil(unit / 1000) + 1000)
return 1
""".replace("KEPT", str(KEPT))
)

# KEYS: one. ARGV: the expected value ('' for none), the new value, its life in ms (0 keeps it).
COMPARE_AND_SET = Script(
    _KEYS
    + """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
if ARGV[3] == '0' then
  put(KEYS[1], ARGV[2])
else
  put(KEYS[1], ARGV[2], tonumber(ARGV[3]))
end
return 1
"""
)
