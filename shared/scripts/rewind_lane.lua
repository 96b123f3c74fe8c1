-- rewind_lane(driver token, lane, point as JSON) -> {'ok', a token that is newer than all leases that are void now}
-- Puts one lane back where `point` says, while the rest of the stream stays: its units from point.head on are leased
-- anew and leases on them are void. Units that were set aside stay so: trainers may have read blocks without them.
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local lane, point = tonumber(ARGV[2]), cjson.decode(ARGV[3])
local lanes = tonumber(job('num_lanes') or 0)
if lane >= lanes then return {'no lane'} end
for number = point.head, mark('next', lane) - 1 do forget_unit(lane + lanes * number) end
place_lane(lane, point)
event('lane', 'lane-' .. lane .. ' goes back to block ' .. point.next_block)
return {'ok', next_token()}
