-- The generations of a namespace: number to "state nonce", where the state is
-- making, made or dropping. KEYS generations; ARGV step, generation, nonce.
-- Answers the state and the nonce that are there then.
local step, number, nonce = ARGV[1], ARGV[2], ARGV[3]
local kept = redis.pcall('HGET', KEYS[1], number)
if type(kept) == 'table' then -- a key of another type
  redis.call('UNLINK', KEYS[1])
  kept = false
end
local state, its = string.match(kept or '', '^(%a+) (%w+)$')
local function set(s, n)
  state, its = s, n
  redis.call('HSET', KEYS[1], number, s .. ' ' .. n)
end
if step == 'open' then -- nonce is that of a new one
  if state ~= 'making' and state ~= 'made' then set('making', nonce) end
elseif step == 'made' then
  if state == 'making' and its == nonce then set('made', nonce) end
elseif step == 'drop' then -- nonce is of the one to drop, '' for any
  if state and (nonce == '' or nonce == its) then
    set('dropping', its)
  else
    state, its = '', ''
  end
elseif step == 'dropped' then
  if state == 'dropping' and its == nonce then redis.call('HDEL', KEYS[1], number) end
end
return {state or '', its or ''}
