-- heartbeat_driver(driver token) -> {'ok'}
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
redis.call('HSET', K.job, 'driver_ms', NOW)
return {'ok'}
