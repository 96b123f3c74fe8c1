-- snapshot() -> {'ok', now, job, lanes, marks, trainers, leases, ready, grants, rows, dead, checkpoints, scales, heartbeats,
--   evaluations}
-- Everything of one moment: hashes as {field, value, …}, sets in order. {'unknown'} when there is no such job.
if not job('state') then return {'unknown'} end
local function hash(name) return redis.call('HGETALL', K[name]) end
local function set(name) return redis.call('ZRANGE', K[name], 0, -1) end
return {'ok', NOW, hash('job'), hash('lanes'), hash('marks'), hash('trainers'), set('leases'), set('ready'),
  hash('grants'), hash('rows'), hash('dead'), set('checkpoints'), hash('scales'), hash('heartbeats'),
  hash('evaluations')}
