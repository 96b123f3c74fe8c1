-- heartbeat(role, token, progress) -> {'ok'}
local role, token, progress = ARGV[1], ARGV[2], ARGV[3]
local refusal = stale_role(role, token)
if refusal then return refusal end
local moved = NOW
local before = redis.call('HGET', K.heartbeats, role)
if before then
  local last, at = string.match(before, '^%d+ (%-?%d+) (%d+)$')
  if last == progress then moved = at end
end
redis.call('HSET', K.heartbeats, role, NOW .. ' ' .. progress .. ' ' .. moved)
return {'ok'}
