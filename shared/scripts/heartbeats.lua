-- heartbeats() -> {'ok', now, {role, 'ms progress progress_ms', …}}
return {'ok', NOW, redis.call('HGETALL', K.heartbeats)}
