-- finish_unit(unit, token) -> {'ok'}
-- The lane has every chunk of the unit. Again with the same token: no change.
local unit, token = tonumber(ARGV[1]), ARGV[2]
if is_taken_in(unit) then return {'ok'} end
local refusal = stale_unit(unit, token)
if refusal then return refusal end
redis.call('ZREM', K.leases, unit)
return {'ok'}
