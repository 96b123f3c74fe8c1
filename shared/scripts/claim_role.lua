-- claim_role(driver token, role) -> {'ok', token}
-- Whoever holds an older token of the role is refused from then on; the role's heartbeat starts anew.
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local token = next_token()
redis.call('HSET', K.roles, ARGV[2], token)
redis.call('HDEL', K.heartbeats, ARGV[2])
return {'ok', token}
