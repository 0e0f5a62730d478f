"""The scripts that run inside Redis: one decision about everything, and a guarded write.

They say what ``arithmetic`` and ``gates.entry`` say; one conformance suite holds all of them
together. Numbers are whole microseconds, below 2^53, which Lua's doubles hold exactly.
"""

from __future__ import annotations

from cloud_broker.cluster.redis import Script
from cloud_broker.cluster.usage_snapshot import KEPT
from cloud_broker.limits.circuit_breaker import PROBE_S, PROBE_WAIT_S
from cloud_broker.limits.gcra import to_us

# A full Redis refuses what adds something, unless the script has removed something before. So a DEL
# or ZREMRANGEBYSCORE comes first everywhere: limits hold in a full Redis as in any other.
# put: life in ms, or nil for as long as before. stay: live at least so many ms more.
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

# KEYS: epoch, one for each ask, one for each gate.
# ARGV: now (-1: Redis's clock), longest wait, nonce, number of asks, then for each ask:
#   kind (w or b), limit or burst, span or interval, epoch of the last look,
#   number of own starts unknown to Redis, age and name of each of those.
# Answer: -1 and the epoch when Redis has forgotten what the caller knew; nothing was done. Else
#   allowed, wait, what refused (0 nothing, n the n-th key after the epoch), now, epoch, then left
#   and reset of each ask, then 1 or 0 (is the probe) and the state of each gate.
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

local asks, at = {}, 5
for i = 1, n do
  local known, own = ARGV[at + 3], tonumber(ARGV[at + 4])
  if known ~= '' and known ~= epoch then
    return {-1, epoch}
  end
  asks[i] = {key = KEYS[i + 1], kind = ARGV[at], size = tonumber(ARGV[at + 1]),
             unit = tonumber(ARGV[at + 2]), first = at + 5, own = own}
  at = at + 5 + 2 * own
end
for i, ask in ipairs(asks) do
  if ask.kind == 'w' then
    redis.call('ZREMRANGEBYSCORE', ask.key, '-inf', now - ask.unit)
    for j = ask.first, ask.first + 2 * ask.own - 2, 2 do
      redis.call('ZADD', ask.key, now - tonumber(ARGV[j]), ARGV[j + 1])
    end
    stay(ask.key, math.ceil(ask.unit / 1000) + 1000)
    ask.card = redis.call('ZCARD', ask.key)
  else
    ask.full = tonumber(redis.call('GET', ask.key) or '0')
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
  for i, ask in ipairs(asks) do
    local earliest = now
    if ask.kind == 'w' then
      if ask.card >= ask.size then
        local last = redis.call('ZRANGE', ask.key, -ask.size, -ask.size, 'WITHSCORES')
        earliest = math.max(now, tonumber(last[2]) + ask.unit)
      end
    else
      earliest = math.max(now, ask.full - (ask.size - 1) * ask.unit)
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
  for i, ask in ipairs(asks) do
    if ask.kind == 'w' then
      redis.call('ZADD', ask.key, start, nonce)
      redis.call('ZREMRANGEBYRANK', ask.key, 0, -ask.size - 1)
      stay(ask.key, math.ceil((start + ask.unit - now) / 1000) + 1000)
    else
      ask.full = math.max(ask.full, start) + ask.unit
      local life = math.ceil((ask.full - now) / 1000) + 1000
      put(ask.key, string.format('%.0f', ask.full), life)
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
for i, ask in ipairs(asks) do
  local left, reset = 0, 0
  if ask.kind == 'w' then
    local used = redis.call('ZCARD', ask.key)
    left = math.max(0, ask.size - used)
    if used > 0 then
      local first = redis.call('ZRANGE', ask.key, 0, 0, 'WITHSCORES')
      reset = math.max(0, tonumber(first[2]) + ask.unit - now)
    end
  else
    local missing = math.max(0, ask.full - now)
    local used = math.ceil(missing / ask.unit)
    left = math.max(0, ask.size - used)
    if used > 0 then
      reset = missing - (used - 1) * ask.unit
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

# What one broker knows of a window, told to a Redis that has forgotten it.
# KEYS: the window. ARGV: now (-1: Redis's clock), limit, span, starts of others seen, age of that
#   look, then age and name of each own start, the oldest first.
# Own starts count once, however often they are told. For those of others stand-ins are added, as
# many as nobody has told; whoever tells a start takes one of its time away.
TELL = Script(
    _KEYS
    + _NOW
    + """
local key, size, unit = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local others, looked = tonumber(ARGV[4]), now - tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - unit)

local standing, taken = {}, {}
local found = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for j = 1, #found, 2 do
  if string.sub(found[j], 1, 8) == 'standin:' then
    standing[#standing + 1] = {name = found[j], at = tonumber(found[j + 1])}
    taken[found[j]] = true
  end
end

local mine = 0  -- of those that the look counted, and so may be found again below
local k = 1  -- the first stand-in that may still be taken away; starts and stand-ins are in order
for j = 6, #ARGV, 2 do
  local start = now - tonumber(ARGV[j])
  if start <= looked then
    mine = mine + 1
  end
  if redis.call('ZADD', key, start, ARGV[j + 1]) == 1 then
    while standing[k] and standing[k].at < start do
      k = k + 1
    end
    if standing[k] then
      redis.call('ZREM', key, standing[k].name)
      standing[k].is_gone = true
      k = k + 1
    end
  end
end

-- A stand-in of a later look stands for what earlier looks had seen as well.
local there = -mine
for _, one in ipairs(standing) do
  if one.at > looked and not one.is_gone then
    there = there + 1
  end
end
local lacking = others - there - redis.call('ZCOUNT', key, '-inf', looked)
local n = 0
for _ = 1, math.min(lacking, size, KEPT) do
  repeat
    n = n + 1
  until not taken['standin:' .. n]
  redis.call('ZADD', key, looked, 'standin:' .. n)
end
stay(key, math.ceil(unit / 1000) + 1000)
return 1
""".replace("KEPT", str(KEPT))
)

# KEYS: one. ARGV: what stands there ('' for nothing), what shall stand there, its life in ms (0: as
# long as before).
SWAP = Script(
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
