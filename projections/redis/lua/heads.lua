-- KEYS docs; ARGV nonce, orders. Answers the head of each.
if lost('h') then return 'LOST' end
local orders = {}
for i = 2, #ARGV do orders[#orders + 1] = ARGV[i] end
local kept = hmget(KEYS[1], orders)
for i = 1, #orders do kept[i] = head(kept[i]) end
return kept
