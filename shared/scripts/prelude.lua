-- Comes before every script: the clock, the names of keys, and what several transitions share.
-- The loader puts `local NAMES, SCHEMA = …` above. A script answers {'ok', …} or a refusal; a refusal wrote nothing.

local K = {}
for index, name in ipairs(NAMES) do K[name] = KEYS[index] end

local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

local schema = redis.call('HGET', K.job, 'schema')
if schema and schema ~= SCHEMA then return {'schema', schema} end

local function job(name) return redis.call('HGET', K.job, name) end
local function mark(name, lane) return tonumber(redis.call('HGET', K.marks, name .. ':' .. lane)) end
local function set_mark(name, lane, value) redis.call('HSET', K.marks, name .. ':' .. lane, value) end

local function event(kind, message)
  redis.call('XADD', K.events, 'MAXLEN', '~', 10000, '*', 'kind', kind, 'message', message)
end

-- Ends the script: what is stored is not what was written, and what is reckoned from it might have no end.
local function damaged(name, value) error('<damaged>' .. name .. ' is ' .. string.sub(tostring(value), 1, 60) .. '<>', 0) end

-- A stored number that a loop goes from, to or by.
local function whole(name, value, least, most)
  local number = tonumber(value)
  if not number or number ~= math.floor(number) or number < least or number > most then damaged(name, value) end
  return number
end

local LARGEST = 2 ^ 53 -- up to here adding one gives another number

-- How many lanes the stream has; nil before it has begun.
local function num_lanes()
  local text = job('num_lanes')
  return text and whole('num_lanes', text, 1, redis.call('HLEN', K.lanes)) or nil
end

-- A token that was never given before: it grows with each call, and is at least the ms since the job was first
-- claimed, so that none comes twice even when a crash of the server took the last second of its file with it.
local function next_token()
  local token = math.max(tonumber(job('fence')) + 1, NOW - tonumber(job('origin_ms')))
  redis.call('HSET', K.job, 'fence', token)
  return token
end

local function stale_driver(token)
  local current = job('driver')
  if current ~= token then return {'stale', 'driver', token, current or ''} end
end

local function stale_role(role, token)
  local current = redis.call('HGET', K.roles, role)
  if current ~= token then return {'stale', role, token, current or ''} end
end

-- lane and lane-local number of a unit
local function place(unit)
  local lanes = num_lanes()
  return unit % lanes, math.floor(unit / lanes)
end

-- Its lane has taken the whole unit in: whoever still holds it holds nothing that could be lost.
local function is_taken_in(unit)
  if not job('num_lanes') then return false end
  local lane, number = place(unit)
  return number < mark('head', lane)
end

local function grant(unit)
  local text = redis.call('HGET', K.grants, unit)
  if not text then return nil end
  return string.match(text, '^(%d+) (.*)$')
end

local function stale_unit(unit, token)
  local current = grant(unit)
  if current ~= token then return {'stale', 'unit ' .. unit, token, current or ''} end
end

-- Forgets a unit's lease and history; its rows too.
local function forget_unit(unit)
  redis.call('ZREM', K.leases, unit)
  redis.call('ZREM', K.ready, unit)
  for _, name in ipairs({'grants', 'attempts', 'rows', 'errors'}) do redis.call('HDEL', K[name], unit) end
end

-- A leased unit comes back: ready for another producer, or set aside when it came back too often.
local function give_back(unit, error)
  redis.call('ZREM', K.leases, unit)
  redis.call('HDEL', K.grants, unit)
  redis.call('HSET', K.errors, unit, error)
  if tonumber(redis.call('HGET', K.attempts, unit)) >= tonumber(job('max_attempts')) then
    redis.call('HSET', K.dead, unit, error)
    event('unit-dead', 'unit ' .. unit .. ' was set aside after ' .. job('max_attempts') .. ' attempts: ' .. error)
  else
    redis.call('ZADD', K.ready, unit, unit)
  end
end

-- Puts lane `lane` where `point` says; its units from point.head on are leased anew, in order.
local function place_lane(lane, point)
  redis.call('HSET', K.lanes, lane, point.record)
  set_mark('head', lane, point.head)
  set_mark('next', lane, point.head)
  set_mark('satisfied', lane, point.satisfied and 1 or 0)
  set_mark('base', lane, point.pushed - point.open_rows)
  set_mark('floor', lane, point.pushed)
end
