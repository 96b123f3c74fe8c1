-- remove_trainer(driver token, name) -> {'ok'}
-- The trainer leaves the stream: its record, its role and its heartbeat go.
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
if redis.call('HDEL', K.trainers, ARGV[2]) == 1 then event('trainer', ARGV[2] .. ' left') end
redis.call('HDEL', K.roles, 'trainer-' .. ARGV[2])
redis.call('HDEL', K.heartbeats, 'trainer-' .. ARGV[2])
return {'ok'}
