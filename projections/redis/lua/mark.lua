-- Makes the keys of a new generation; those that are there already stay, and what
-- an older one left is removed. KEYS any; ARGV nonce, kinds.
for i = 1, #ARGV[2] do
  local key, ours = KEYS[i], nil
  if string.sub(ARGV[2], i, i) == 'h' then
    local kept = redis.pcall('HGET', key, MARK)
    if kept ~= nonce then
      redis.call('UNLINK', key)
      redis.call('HSET', key, MARK, nonce)
    end
  else
    local kept = redis.pcall('ZSCORE', key, MARK .. nonce)
    if type(kept) ~= 'string' then
      redis.call('UNLINK', key)
      redis.call('ZADD', key, 0, MARK .. nonce)
    end
  end
end
return 'OK'
