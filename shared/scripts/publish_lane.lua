-- publish_lane(lane, token, head, next_block, emitted, satisfied, record) -> {'ok'} | {'backwards', head before}
-- The lane's counters in one write. Units that its head has passed are done, whoever holds them; their rows stay counted.
-- high_block and high_emitted remember the farthest that the lane ever was, for trainers that read on while it catches up.
local lane, token, head = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local next_block, emitted, satisfied, record = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local refusal = stale_role('lane-' .. lane, token)
if refusal then return refusal end
local lanes, before, base = tonumber(job('num_lanes') or 0), mark('head', lane), mark('base', lane)
if not before then return {'no lane'} end
if head < before then return {'backwards', before} end

for number = before, head - 1 do
  local unit = lane + lanes * number
  base = base + tonumber(redis.call('HGET', K.rows, unit) or 0)
  forget_unit(unit)
end
set_mark('base', lane, base)
set_mark('head', lane, head)
set_mark('next', lane, math.max(mark('next', lane), head))
set_mark('satisfied', lane, satisfied)
if next_block >= mark('high_block', lane) then
  set_mark('high_block', lane, next_block)
  set_mark('high_emitted', lane, emitted)
end
redis.call('HSET', K.lanes, lane, record)
return {'ok'}
