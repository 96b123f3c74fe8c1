-- retire_role(role) -> {'ok'}
-- Nobody holds the role any more: its last holder is refused, its heartbeat is forgotten.
redis.call('HDEL', K.roles, ARGV[1])
redis.call('HDEL', K.heartbeats, ARGV[1])
return {'ok'}
