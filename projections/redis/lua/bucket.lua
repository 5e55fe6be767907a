-- Everything that is counted in a bucket, and of what, at one instant.
-- KEYS docs ids sums days products; ARGV nonce. Answers orders with their heads,
-- ids with scores, and the rows of sums, days and products.
if lost('hzhhh') then return 'LOST' end
local heads, docs = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #docs, 2 do
  if docs[i] ~= MARK then
    heads[#heads + 1] = docs[i]
    heads[#heads + 1] = string.sub(head(docs[i + 1]), 2)
  end
end
return {heads, redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[3]), redis.call('HGETALL', KEYS[4]), redis.call('HGETALL', KEYS[5])}
