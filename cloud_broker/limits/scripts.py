"""The scripts that run inside Redis: one decision about everything, and a guarded write.

They say what ``arithmetic`` and ``gates.entry`` say; one conformance suite holds all of them
together. Numbers are whole microseconds, below 2^53, which Lua's doubles hold exactly.
"""

from __future__ import annotations

from cloud_broker.limits.arithmetic import to_us
from cloud_broker.limits.gates import PROBE_S, PROBE_WAIT_S
from cloud_broker.redis import Script

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

# KEYS: epoch, one for each ask, one for each gate.
# ARGV: now (-1: Redis's clock), longest wait, nonce, number of asks, then for each ask:
#   kind (w or b), limit or burst, span or interval, epoch of the last look, starts seen then,
#   age of that look, number of own starts unknown to Redis, the age of each of those.
# Answer: allowed, wait, what refused (0 nothing, n the n-th key after the epoch), now, epoch,
#   then left and reset of each ask, then 1 or 0 (is the probe) and the state of each gate.
DECIDE = Script(
    _KEYS
    + """
local now = tonumber(ARGV[1])
if now < 0 then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local max_wait, nonce, n = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = nonce
  put(KEYS[1], epoch)
end

local asks, at = {}, 5
for i = 1, n do
  local ask = {key = KEYS[i + 1], kind = ARGV[at], size = tonumber(ARGV[at + 1]),
               unit = tonumber(ARGV[at + 2])}
  local known, seen, age = ARGV[at + 3], tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local own = tonumber(ARGV[at + 6])
  if ask.kind == 'w' then
    redis.call('ZREMRANGEBYSCORE', ask.key, '-inf', now - ask.unit)
    if known ~= '' and known ~= epoch then
      for j = redis.call('ZCARD', ask.key) + 1, seen do
        redis.call('ZADD', ask.key, now - age, nonce .. ':s' .. j)
      end
    end
    for j = 1, own do
      local start = now - tonumber(ARGV[at + 6 + j])
      redis.call('ZADD', ask.key, start, nonce .. ':o' .. j)
    end
    stay(ask.key, math.ceil(ask.unit / 1000) + 1000)
    ask.card = redis.call('ZCARD', ask.key)
  else
    ask.full = tonumber(redis.call('GET', ask.key) or '0')
  end
  at = at + 7 + own
  asks[i] = ask
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
