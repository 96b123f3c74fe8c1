-- give_back_unit(unit, token, is_blamed, reason) -> {'ok', 1 when the unit was set aside, else 0}
-- Its producer could not do it: the unit comes back at once. Not blamed, the attempt does not count against it.
local unit, token, is_blamed, reason = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', ARGV[4]
local refusal = stale_unit(unit, token)
if refusal then return refusal end
if not is_blamed then redis.call('HINCRBY', K.attempts, unit, -1) end
give_back(unit, reason)
return {'ok', redis.call('HEXISTS', K.dead, unit)}
