-- save_part(block, part, token, expected_parts) -> {'ok', 1 for the call that completes the checkpoint, else 0}
-- The last part makes the checkpoint complete in this one step. The same call again gets the same answer.
local block, part, expected = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[4])
local refusal = stale_role(part, ARGV[3])
if refusal then return refusal end
local name = block .. ':' .. part
if redis.call('ZSCORE', K.checkpoints, block) then return {'ok', job('completed_by') == name and 1 or 0} end
redis.call('ZADD', K.parts, block, name)
if redis.call('ZCOUNT', K.parts, block, block) < expected then return {'ok', 0} end

redis.call('ZREMRANGEBYSCORE', K.parts, block, block)
redis.call('ZADD', K.checkpoints, block, block)
redis.call('HSET', K.job, 'checkpoint', redis.call('ZREVRANGE', K.checkpoints, 0, 0)[1], 'completed_by', name)
event('checkpoint', 'checkpoint ' .. block .. ' is complete')
return {'ok', 1}
