-- KEYS members list counts; ARGV nonce, customer. Answers the first and the last
-- entry of the list, and then currency and totals, in turns.
if lost('hzh') then return 'LOST' end
local from, to = '[' .. ARGV[2] .. '\0', '(' .. ARGV[2] .. '\1'
local first = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, 1)
if #first == 0 then return {} end
local out = {first[1], redis.call('ZREVRANGEBYLEX', KEYS[2], to, from, 'LIMIT', 0, 1)[1]}
for _, currency in ipairs(redis.call('HKEYS', KEYS[3])) do
  if string.sub(currency, 1, 1) ~= '!' then
    local sums = redis.call('HGET', KEYS[1], 't' .. ARGV[2] .. '\0' .. currency)
    if sums then
      out[#out + 1] = currency
      out[#out + 1] = sums
    end
  end
end
return out
