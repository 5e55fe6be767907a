-- KEYS members list counts; ARGV nonce. Answers all of each, at one instant.
if lost('hzh') then return 'LOST' end
return {redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[3])}
