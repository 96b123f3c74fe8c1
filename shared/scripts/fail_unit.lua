-- fail_unit(unit, token, error) -> {'ok', 1 when the unit was set aside, else 0}
-- Its producer could not do it: the unit comes back at once.
local unit, token, error = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local refusal = stale_unit(unit, token)
if refusal then return refusal end
give_back(unit, error)
return {'ok', redis.call('HEXISTS', K.dead, unit)}
