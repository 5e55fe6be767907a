-- One bucket's part of a batch, all of it or nothing.
-- KEYS docs ids sums days products
-- ARGV nonce, version, count, then count times: order, head that must be kept,
-- new value ('' removes); then rows, in order of keys: number of the key,
-- field, delta, suffix.
-- Answers 'OK', 'LOST', 'OVERFLOW', or pairs of what is kept otherwise: number of
-- the order, its head.
if lost('hzhhh') then return 'LOST' end
local n = tonumber(ARGV[3])
local from = 4 + n * 3
local orders = {}
for i = 1, n do orders[i] = ARGV[1 + i * 3] end
local kept, others = hmget(KEYS[1], orders), {}
for i = 1, n do
  local is, want = kept[i], ARGV[2 + i * 3]
  local same
  if is then
    same = string.sub(want, 1, 1) == '=' and string.sub(is, 1, #want - 1) == string.sub(want, 2)
  else
    same = want == '-'
  end
  if not same then
    others[#others + 1] = i - 1
    others[#others + 1] = head(is)
  end
end
if #others > 0 then return others end

local set, gone = {}, {} -- by key
local at, last = from, #ARGV
for key = 3, 5 do
  local own, first, names, m = tostring(key), at, {}, 0
  while at <= last and ARGV[at] == own do
    m = m + 1
    names[m] = ARGV[at + 1]
    at = at + 4
  end
  local s, k, g = {}, 0, {}
  if m > 0 then
    local sums = hmget(KEYS[key], names)
    for i = 1, m do
      local row = first + (i - 1) * 4
      local sum, zero = add(sums[i], ARGV[row + 2])
      if not sum then return 'OVERFLOW' end
      if zero then
        g[#g + 1] = names[i]
      else
        s[k + 1], s[k + 2] = names[i], sum .. ARGV[row + 3]
        k = k + 2
      end
    end
  end
  set[key], gone[key] = s, g
end

local docs, ids, removed, unlisted, k = {}, {}, {}, {}, 0
for i = 1, n do
  local order, value = orders[i], ARGV[3 + i * 3]
  if value == '' then
    removed[#removed + 1] = order
    unlisted[#unlisted + 1] = 'o' .. order
  else
    docs[k + 1], docs[k + 2] = order, value
    ids[k + 1], ids[k + 2] = 0, 'o' .. order
    k = k + 2
  end
end
many('HSET', KEYS[1], docs)
many('ZADD', KEYS[2], ids)
many('HDEL', KEYS[1], removed)
many('ZREM', KEYS[2], unlisted)
for key = 3, 5 do
  many('HSET', KEYS[key], set[key])
  many('HDEL', KEYS[key], gone[key])
end
redis.call('HSET', KEYS[3], '!version', ARGV[2])
return 'OK'
