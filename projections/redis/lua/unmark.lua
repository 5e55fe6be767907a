-- Removes the keys of a dropped generation, and whatever is no generation's; what
-- was made anew since then stays. KEYS any; ARGV nonce, kinds.
for i = 1, #ARGV[2] do
  local key, foreign = KEYS[i], false
  if string.sub(ARGV[2], i, i) == 'h' then
    local kept = redis.pcall('HGET', key, MARK)
    foreign = type(kept) == 'string' and kept ~= nonce
  elseif type(redis.pcall('ZSCORE', key, MARK .. nonce)) ~= 'string' then
    local first = redis.pcall('ZRANGEBYLEX', key, '[' .. MARK, '(' .. MARK .. 'z', 'LIMIT', 0, 1)
    foreign = first.err == nil and first[1] ~= nil
  end
  if not foreign then redis.call('UNLINK', key) end
end
return 'OK'
