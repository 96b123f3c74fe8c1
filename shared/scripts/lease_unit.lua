-- lease_unit(producer, token, ttl_ms, request) -> {'lease', unit, token, attempt} | {'wait', reason} | {'end'}
-- Leases that ran out come back first. Then the lowest unit that came back is given, else the lowest one that was
-- never leased and lies in its lane's window. Lanes that are satisfied get none. The same request gets the same answer.
local producer, ttl_ms, request = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local refusal = stale_role(producer, ARGV[2])
if refusal then return refusal end
local state, lanes = job('state'), num_lanes()
if not state or state == 'stopped' or state == 'failed' or state == 'finished' then return {'end'} end
if not lanes then return {'wait', 'stream'} end
local num_units = whole('num_units', job('num_units'), 0, LARGEST)
local window = whole('window_units', job('window_units'), 1, LARGEST)

local function is_satisfied(lane) return mark('satisfied', lane) == 1 end

local function repeated()
  local text = redis.call('HGET', K.requests, producer)
  if not text then return nil end
  local known, unit, token, attempt = string.match(text, '^(%S+) (%d+) (%d+) (%d+)$')
  if known ~= request or grant(unit) ~= token then return nil end
  return {'lease', tonumber(unit), tonumber(token), tonumber(attempt)}
end

local function sweep()
  for _, unit in ipairs(redis.call('ZRANGEBYSCORE', K.leases, '-inf', '(' .. NOW)) do
    local _, holder = grant(unit)
    give_back(unit, 'the lease of ' .. holder .. ' ran out')
    event('lease', 'unit ' .. unit .. ' is free again: the lease of ' .. holder .. ' ran out')
  end
end

local function take_ready()
  for _, unit in ipairs(redis.call('ZRANGE', K.ready, 0, -1)) do
    if not is_satisfied(unit % lanes) then
      redis.call('ZREM', K.ready, unit)
      return tonumber(unit)
    end
  end
end

-- the lane's next unit that was never leased, past those set aside; nil when the corpus has none
local function next_of(lane)
  local number = whole('next:' .. lane, mark('next', lane), 0, LARGEST)
  while lane + lanes * number < num_units do
    if redis.call('HEXISTS', K.dead, lane + lanes * number) == 0 then return number end
    number = number + 1
  end
end

local function take_next()
  local best, is_waiting = nil, false
  for lane = 0, lanes - 1 do
    local number = not is_satisfied(lane) and next_of(lane)
    if number and number >= mark('head', lane) + window then
      is_waiting = true
    elseif number and (not best or lane + lanes * number < best) then
      best = lane + lanes * number
    end
  end
  if best then set_mark('next', best % lanes, math.floor(best / lanes) + 1) end
  return best, is_waiting
end

local function may_come_back()
  for _, unit in ipairs(redis.call('ZRANGE', K.leases, 0, -1)) do
    if not is_satisfied(unit % lanes) then return true end
  end
  return false
end

local answer = repeated()
if answer then return answer end
sweep()
local unit, is_waiting = take_ready(), false
if not unit then unit, is_waiting = take_next() end
if not unit then
  if is_waiting then return {'wait', 'window'} end
  return may_come_back() and {'wait', 'leases'} or {'end'}
end
local token, attempt = next_token(), redis.call('HINCRBY', K.attempts, unit, 1)
redis.call('ZADD', K.leases, NOW + ttl_ms, unit)
redis.call('HSET', K.grants, unit, token .. ' ' .. producer)
redis.call('HSET', K.requests, producer, request .. ' ' .. unit .. ' ' .. token .. ' ' .. attempt)
return {'lease', unit, token, attempt}
