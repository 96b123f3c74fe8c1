-- announce_unit(unit, token, rows) -> {'ok'} | {'differs', rows announced before}
-- How many rows the unit has; before its first chunk is pushed. The same at every attempt, or the corpus has changed.
local unit, token, rows = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if is_taken_in(unit) then return {'ok'} end
local refusal = stale_unit(unit, token)
if refusal then return refusal end
local before = redis.call('HGET', K.rows, unit)
if before and before ~= rows then return {'differs', before} end
redis.call('HSET', K.rows, unit, rows)
return {'ok'}
