-- KEYS control; ARGV nonce, then lane, token and moves in turns. Answers the lanes
-- that are not owned so.
if lost('h') then return 'LOST' end
local taken = {}
for at = 2, #ARGV, 3 do
  if not owned(ARGV[at], ARGV[at + 1], ARGV[at + 2]) then
    taken[#taken + 1] = tonumber(ARGV[at])
  elseif type(redis.pcall('HINCRBY', KEYS[1], 'b' .. ARGV[at], 1)) ~= 'number' then
    redis.call('HSET', KEYS[1], 'b' .. ARGV[at], 1)
  end
end
return taken
