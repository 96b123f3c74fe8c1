-- renew_leases(ttl_ms, unit, token, unit, token …) -> {'ok', units that are lost …}
-- A unit that is finished, or that its lane has taken in, is not lost.
local ttl_ms, lost = tonumber(ARGV[1]), {'ok'}
for index = 2, #ARGV, 2 do
  local unit, token = tonumber(ARGV[index]), ARGV[index + 1]
  if not is_taken_in(unit) then
    if grant(unit) ~= token then
      table.insert(lost, unit)
    elseif redis.call('ZSCORE', K.leases, unit) then
      redis.call('ZADD', K.leases, NOW + ttl_ms, unit)
    end
  end
end
return lost
