-- set_state(driver token, state, message, what trainers ended with as JSON, states from which it may be entered …)
-- -> {'ok'} | {'illegal', state}
local refusal = stale_driver(ARGV[1])
if refusal then return refusal end
local before = job('state')
for index = 5, #ARGV do
  if ARGV[index] == before then
    redis.call('HSET', K.job, 'state', ARGV[2], 'message', ARGV[3])
    for name, record in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', K.trainers, name, record) end
    if before ~= ARGV[2] then
      event('state', before .. ' -> ' .. ARGV[2] .. (ARGV[3] ~= '' and ': ' .. ARGV[3] or ''))
    end
    return {'ok'}
  end
end
return {'illegal', before}
