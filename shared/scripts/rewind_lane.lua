-- rewind_lane(driver token, lane, point as JSON) -> {'ok', a token that is newer than all leases that are void now}
-- Puts one lane back where `point` says, while the rest of the stream stays: its units from point.head on are leased
-- anew and leases on them are void. Units that were set aside stay so: trainers may have read blocks without them; their
-- rows stay known, since nobody will announce them again, and the lane may have taken in some of them before `point`.
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local lane, point = tonumber(ARGV[2]), cjson.decode(ARGV[3])
local lanes = num_lanes()
if not lanes or lane >= lanes then return {'no lane'} end
local function forget(units)
  for _, unit in ipairs(units) do
    local is_dead = redis.call('HEXISTS', K.dead, unit) == 1
    if unit % lanes == lane and math.floor(unit / lanes) >= point.head and not is_dead then forget_unit(unit) end
  end
end
for _, name in ipairs({'leases', 'ready'}) do forget(redis.call('ZRANGE', K[name], 0, -1)) end
for _, name in ipairs({'grants', 'attempts', 'rows', 'errors'}) do forget(redis.call('HKEYS', K[name])) end
place_lane(lane, point)
event('lane', 'lane-' .. lane .. ' goes back to block ' .. point.next_block)
return {'ok', next_token()}
