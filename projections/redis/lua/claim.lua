-- KEYS control; ARGV nonce, lane, token, next token, owner, '1' when this may be a
-- repeat. Answers the fields of the lane, moves last, or 'TAKEN'.
if lost('h') then return 'LOST' end
local lane = ARGV[2]
local kept = token(lane)
if kept == ARGV[3] then
  redis.call('HSET', KEYS[1], 't' .. lane, ARGV[4], 'o' .. lane, ARGV[5])
elseif not (ARGV[6] == '1' and kept == ARGV[4] and redis.call('HGET', KEYS[1], 'o' .. lane) == ARGV[5]) then
  return 'TAKEN'
end
local fields = redis.call('HMGET', KEYS[1], 't' .. lane, 'o' .. lane, 'b' .. lane, 'p' .. lane)
fields[5] = moved(lane)
return fields
