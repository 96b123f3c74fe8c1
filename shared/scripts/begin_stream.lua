-- begin_stream(driver token, point as JSON) -> {'ok', the stream's number, which no other one of the job has}
-- Puts the whole stream where `point` says. Leases, ready units, attempts and parts of incomplete checkpoints go, and
-- so do all roles; units that were set aside from a lane's head on get another chance.
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local point = cjson.decode(ARGV[2])
redis.call('DEL', K.roles, K.heartbeats, K.lanes, K.marks, K.trainers, K.leases, K.ready, K.grants, K.attempts,
  K.rows, K.errors, K.requests, K.scales, K.parts)
redis.call('HSET', K.job, 'num_units', point.num_units, 'num_lanes', #point.lanes, 'window_units', point.window_units,
  'block_rows', point.block_rows, 'max_attempts', point.max_attempts,
  'held_out_contexts', point.held_out_contexts)
for index, lane in ipairs(point.lanes) do
  place_lane(index - 1, lane)
  set_mark('high_block', index - 1, lane.next_block)
  set_mark('high_emitted', index - 1, lane.emitted)
  set_mark('high_ended', index - 1, lane.has_ended and 1 or 0)
end
for _, unit in ipairs(redis.call('HKEYS', K.dead)) do
  if not is_taken_in(tonumber(unit)) then redis.call('HDEL', K.dead, unit) end
end
for name, record in pairs(point.trainers) do redis.call('HSET', K.trainers, name, record) end
for hookpoint, value in pairs(point.scales) do redis.call('HSET', K.scales, hookpoint, value) end

redis.call('HDEL', K.job, 'checkpoint', 'completed_by')
redis.call('ZREMRANGEBYSCORE', K.checkpoints, '(' .. point.checkpoint, '+inf')
if point.checkpoint >= 0 then
  redis.call('ZADD', K.checkpoints, point.checkpoint, point.checkpoint)
  redis.call('HSET', K.job, 'checkpoint', point.checkpoint)
end
event('stream', point.checkpoint >= 0 and 'goes on from checkpoint ' .. point.checkpoint or 'begins')
return {'ok', next_token()}
