-- KEYS list; ARGV nonce, customer, where to go on ('' at the newest), limit.
-- Answers how many there are, and the page.
if lost('z') then return 'LOST' end
local from, to = '[' .. ARGV[2] .. '\0', '(' .. ARGV[2] .. '\1'
local total = redis.call('ZLEXCOUNT', KEYS[1], from, to)
if ARGV[3] ~= '' then to = '(' .. ARGV[3] end
return {total, redis.call('ZREVRANGEBYLEX', KEYS[1], to, from, 'LIMIT', 0, ARGV[4])}
