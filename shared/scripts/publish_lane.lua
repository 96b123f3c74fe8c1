-- publish_lane(lane, token, head, next_block, emitted, satisfied, ended, record) -> {'ok'} | {'backwards', head before}
-- The lane's counters in one write. Units that its head has passed are done, whoever holds them; their rows stay counted.
-- high_block, high_emitted and high_ended remember the farthest that the lane ever was, for trainers that read on while
-- it catches up.
local lane, token, head = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local next_block, emitted = tonumber(ARGV[4]), tonumber(ARGV[5])
local satisfied, ended, record = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local refusal = stale_role('lane-' .. lane, token)
if refusal then return refusal end
local lanes, before, base = num_lanes(), mark('head', lane), mark('base', lane)
if not lanes or lane >= lanes then return {'no lane'} end
whole('head:' .. lane, before, 0, LARGEST)
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
if ended == 1 then set_mark('high_ended', lane, 1) end
redis.call('HSET', K.lanes, lane, record)
return {'ok'}
