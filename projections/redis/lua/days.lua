-- KEYS sums days; ARGV nonce, first and last day ('' for no bound). Answers all of
-- sums and the rows of days between them.
if lost('hh') then return 'LOST' end
local rows, out = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #rows, 2 do
  local day = string.match(rows[i], '^[^%z]*')
  if day ~= MARK and (ARGV[2] == '' or day >= ARGV[2]) and (ARGV[3] == '' or day <= ARGV[3]) then
    out[#out + 1] = rows[i]
    out[#out + 1] = rows[i + 1]
  end
end
return {redis.call('HGETALL', KEYS[1]), out}
