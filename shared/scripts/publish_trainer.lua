-- publish_trainer(name, token, record) -> {'ok'}
local refusal = stale_role('trainer-' .. ARGV[1], ARGV[2])
if refusal then return refusal end
redis.call('HSET', K.trainers, ARGV[1], ARGV[3])
return {'ok'}
