-- publish_evaluation(token, trainer, record) -> {'ok'}
-- The evaluator's newest numbers of one trainer.
local refusal = stale_role('evaluator', ARGV[1])
if refusal then return refusal end
redis.call('HSET', K.evaluations, ARGV[2], ARGV[3])
return {'ok'}
