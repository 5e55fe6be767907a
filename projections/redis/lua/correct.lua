-- Puts rows right, if the bucket is still at the version they were looked at.
-- ARGV nonce, kinds of KEYS, number of the key with the version, version, next
-- version, then: number of the key, field or member, value; for a hash 'value' or
-- '', which removes; for a sorted set '0' adds and '' removes.
local kinds = ARGV[2]
if lost(kinds) then return 'LOST' end
local versions = KEYS[tonumber(ARGV[3])]
if (redis.call('HGET', versions, '!version') or '') ~= ARGV[4] then return 'MOVED' end
for at = 6, #ARGV, 3 do
  local number = tonumber(ARGV[at])
  local key, field, value = KEYS[number], ARGV[at + 1], ARGV[at + 2]
  if string.sub(kinds, number, number) == 'h' then
    if value == '' then redis.call('HDEL', key, field) else redis.call('HSET', key, field, value) end
  elseif value == '' then
    redis.call('ZREM', key, field)
  else
    redis.call('ZADD', key, 0, field)
  end
end
redis.call('HSET', versions, '!version', ARGV[5])
return 'OK'
