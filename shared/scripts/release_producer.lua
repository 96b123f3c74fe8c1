-- release_producer(driver token, producer, is_blamed, reason) -> {'ok', units …}
-- All that the producer holds comes back at once, and it may lease no more. Blamed is only the lowest, which was in the model; the others waited
-- for it, and the attempt does not count against them.
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local producer, is_blamed, reason, released = ARGV[2], ARGV[3] == '1', ARGV[4], {}
redis.call('HDEL', K.roles, producer)
for _, unit in ipairs(redis.call('ZRANGE', K.leases, 0, -1)) do
  local _, holder = grant(unit)
  if holder == producer then table.insert(released, tonumber(unit)) end
end
table.sort(released)
for index, unit in ipairs(released) do
  if index > 1 or not is_blamed then redis.call('HINCRBY', K.attempts, unit, -1) end
  give_back(unit, reason)
end
redis.call('HDEL', K.requests, producer)
if #released > 0 then event('lease', 'units ' .. table.concat(released, ', ') .. ' are free again: ' .. reason) end
return {'ok', unpack(released)}
