-- claim_job(yaml, output, resume, dead_after_ms, request) -> {'ok', token}
-- Makes the caller the job's driver, in state starting; every earlier driver and role is refused from then on.
-- Refusals: {'live'} another driver was heard within dead_after_ms; {'known', state} the job has begun in the same
-- output and resume is 0; {'elsewhere', state, output} it is unfinished in another one and resume is 0; {'finished'}
-- in this output and resume is 1. Without resume all that was known of the job goes.
-- The same request gets the same token, should its first answer have been lost.
local yaml, output, resume, dead_after_ms = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
if job('claim') == ARGV[5] then return {'ok', tonumber(job('driver'))} end
local state = job('state')
local is_over = state == 'stopped' or state == 'failed' or state == 'finished'
local driver_ms = tonumber(job('driver_ms') or 0)
local apart_ms = math.abs(NOW - driver_ms) -- a clock that was set back far says nothing about the driver
if state and not is_over and apart_ms < dead_after_ms then return {'live'} end
if state and not resume and job('num_units') and job('output') == output then return {'known', state} end
local is_elsewhere = state and job('output') ~= output
if is_elsewhere and not resume and state ~= 'finished' and job('num_units') then
  return {'elsewhere', state, job('output')}
end
if state == 'finished' and resume and not is_elsewhere then return {'finished'} end

local origin_ms, fence, created_ms = job('origin_ms') or NOW, job('fence') or 0, job('created_ms')
if not resume then
  redis.call('DEL', unpack(KEYS))
  created_ms = nil
end
redis.call('DEL', K.roles, K.heartbeats)
redis.call('HDEL', K.job, 'stop_ms')
redis.call('HSET', K.job, 'schema', SCHEMA, 'yaml', yaml, 'output', output, 'state', 'starting', 'message', '',
  'created_ms', created_ms or NOW, 'driver_ms', NOW, 'origin_ms', origin_ms, 'fence', fence)
local token = next_token()
redis.call('HSET', K.job, 'driver', token, 'claim', ARGV[5])
event('state', (state or 'new') .. ' -> starting')
return {'ok', token}
