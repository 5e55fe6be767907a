-- One customer bucket's part of a batch, all of it or nothing.
-- KEYS members list counts
-- ARGV nonce, version, count, then count times: member, value that must be kept
-- ('-' or '=' and the value), new value ('' removes), entry of the list to remove,
-- one to add ('' for none); then totals: field, currency, delta.
-- Answers as put does, with whole values.
if lost('hzh') then return 'LOST' end
local n = tonumber(ARGV[3])
local from = 4 + n * 5
local members = {}
for i = 1, n do members[i] = ARGV[i * 5 - 1] end
local kept, others = hmget(KEYS[1], members), {}
for i = 1, n do
  local is = kept[i] and '=' .. kept[i] or '-'
  if is ~= ARGV[i * 5] then
    others[#others + 1] = i - 1
    others[#others + 1] = is
  end
end
if #others > 0 then return others end

local totals, m = {}, 0
for at = from, #ARGV, 3 do
  m = m + 1
  totals[m] = ARGV[at]
end
local sums, set, k, gone, changed = hmget(KEYS[1], totals), {}, 0, {}, {}
for i = 1, m do
  local at = from + (i - 1) * 3
  local sum, zero, was, is = add(sums[i], ARGV[at + 2])
  if not sum then return 'OVERFLOW' end
  if zero then
    gone[#gone + 1] = totals[i]
  else
    set[k + 1], set[k + 2] = totals[i], sum
    k = k + 2
  end
  if was ~= is then
    changed[ARGV[at + 1]] = (changed[ARGV[at + 1]] or 0) + (was and 1 or -1)
  end
end

local leave, enter, e = {}, {}, 0
for at = 4, from - 1, 5 do
  if ARGV[at + 2] == '' then
    gone[#gone + 1] = ARGV[at]
  else
    set[k + 1], set[k + 2] = ARGV[at], ARGV[at + 2]
    k = k + 2
  end
  if ARGV[at + 3] ~= '' then leave[#leave + 1] = ARGV[at + 3] end
  if ARGV[at + 4] ~= '' then
    enter[e + 1], enter[e + 2] = 0, ARGV[at + 4]
    e = e + 2
  end
end
many('HSET', KEYS[1], set)
many('HDEL', KEYS[1], gone)
many('ZREM', KEYS[2], leave) -- before what enters: it may be the same
many('ZADD', KEYS[2], enter)
for currency, by in pairs(changed) do
  local delta = by >= 0 and struct.pack('>I4I4', 0, by) or struct.pack('>I4I4', B32 - 1, B32 + by)
  local sum, zero = add(redis.call('HGET', KEYS[3], currency), delta)
  if not sum or zero then
    redis.call('HDEL', KEYS[3], currency)
  else
    redis.call('HSET', KEYS[3], currency, sum)
  end
end
redis.call('HSET', KEYS[3], '!version', ARGV[2])
return 'OK'
