-- request_stop() -> {'ok', 1} when the job's driver will see it, {'ok', 0} when the job is over, {'unknown'}
local state = job('state')
if not state then return {'unknown'} end
if state == 'stopped' or state == 'failed' or state == 'finished' then return {'ok', 0} end
if redis.call('HSETNX', K.job, 'stop_ms', NOW) == 1 then event('stop', 'a stop was asked for') end
return {'ok', 1}
