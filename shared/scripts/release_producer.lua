-- release_producer(producer, is_blamed, reason) -> {'ok', units …}
-- All that the producer holds comes back at once. Blamed is only the lowest, which was in the model; the others waited
-- for it, and the attempt does not count against them.
local producer, is_blamed, released = ARGV[1], ARGV[2] == '1', {}
for _, unit in ipairs(redis.call('ZRANGE', K.leases, 0, -1)) do
  local _, holder = grant(unit)
  if holder == producer then table.insert(released, tonumber(unit)) end
end
table.sort(released)
for index, unit in ipairs(released) do
  if index > 1 or not is_blamed then redis.call('HINCRBY', K.attempts, unit, -1) end
  give_back(unit, ARGV[3])
end
redis.call('HDEL', K.requests, producer)
if #released > 0 then event('lease', 'units ' .. table.concat(released, ', ') .. ' are free again: ' .. ARGV[3]) end
return {'ok', unpack(released)}
