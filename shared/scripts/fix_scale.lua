-- fix_scale(hookpoint, value) -> {'ok', the value in force}; the first writer wins
redis.call('HSETNX', K.scales, ARGV[1], ARGV[2])
return {'ok', redis.call('HGET', K.scales, ARGV[1])}
