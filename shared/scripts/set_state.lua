-- set_state(driver token, state, message, states from which it may be entered …) -> {'ok'} | {'illegal', state}
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local before = job('state')
for index = 4, #ARGV do
  if ARGV[index] == before then
    redis.call('HSET', K.job, 'state', ARGV[2], 'message', ARGV[3])
    if before ~= ARGV[2] then
      event('state', before .. ' -> ' .. ARGV[2] .. (ARGV[3] ~= '' and ': ' .. ARGV[3] or ''))
    end
    return {'ok'}
  end
end
return {'illegal', before}
