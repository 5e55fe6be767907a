-- KEYS control; ARGV nonce, count of lanes, then each: lane, token, moves, beat,
-- place; count of parked orders, then each: order, record; then the released ones.
-- Answers how often each lane was moved then, or the number of one that is not owned
-- so.
if lost('h') then return 'LOST' end
local at, lanes = 3, {}
for _ = 1, tonumber(ARGV[2]) do
  if not owned(ARGV[at], ARGV[at + 1], ARGV[at + 2]) then return tonumber(ARGV[at]) end
  lanes[#lanes + 1] = at
  at = at + 5
end
local moves = {}
for _, lane in ipairs(lanes) do
  local beat = tonumber(redis.call('HGET', KEYS[1], 'b' .. ARGV[lane]) or '')
  if not beat or beat < tonumber(ARGV[lane + 3]) then -- else signs of life came meanwhile
    redis.call('HSET', KEYS[1], 'b' .. ARGV[lane], ARGV[lane + 3])
  end
  local n = moved(ARGV[lane]) + 1
  redis.call('HSET', KEYS[1], 'p' .. ARGV[lane], ARGV[lane + 4], 'm' .. ARGV[lane], string.format('%.0f', n))
  moves[#moves + 1] = n
end
local parked = tonumber(ARGV[at])
at = at + 1
for _ = 1, parked do
  redis.call('HSET', KEYS[1], 'k' .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do redis.call('HDEL', KEYS[1], 'k' .. ARGV[i]) end
return moves
