-- claim_role(role) -> {'ok', token} | {'unknown'}
-- Whoever holds an older token of the role is refused from then on; the role's heartbeat starts anew.
if not job('state') then return {'unknown'} end
local token = next_token()
redis.call('HSET', K.roles, ARGV[1], token)
redis.call('HDEL', K.heartbeats, ARGV[1])
return {'ok', token}
