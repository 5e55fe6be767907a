-- Before every script of a generation. ARGV[1] is its nonce, which every key
-- carries: hashes in the field !docket, sorted sets as a member. A key without
-- it is lost, or another's.
local nonce = ARGV[1]
local MARK = '!docket'

-- kinds has a letter per key, h for a hash and z for a sorted set. It reads
-- every key, so that one of another type fails before anything is written.
local function lost(kinds)
  for i = 1, #kinds do
    if string.sub(kinds, i, i) == 'h' then
      if redis.call('HGET', KEYS[i], MARK) ~= nonce then return true end
    elseif not redis.call('ZSCORE', KEYS[i], MARK .. nonce) then
      return true
    end
  end
  return false
end

-- exact adds whole numbers of 64 bits, big-endian, as halves, since a number of
-- Lua has 53. Nothing where a sum leaves 64 bits.
local B32, B31 = 4294967296, 2147483648
local function exact(kept, delta)
  local out = {}
  for p = 1, #delta, 8 do
    local h, l = struct.unpack('>I4I4', kept, p)
    local dh, dl = struct.unpack('>I4I4', delta, p)
    local sh, sl = h + dh, l + dl
    if sl >= B32 then sl = sl - B32; sh = sh + 1 end
    if sh >= B32 then sh = sh - B32 end
    if (h >= B31) == (dh >= B31) and (sh >= B31) ~= (h >= B31) then return nil end
    out[#out + 1] = struct.pack('>I4I4', sh, sl)
  end
  return table.concat(out)
end

-- add does the same, faster where all numbers fit a number of Lua. What is kept
-- and too short counts as zeros. It returns the sums, whether all are zero, and
-- whether the first was and is zero.
local B53 = 9007199254740992
local ZERO = string.rep('\0', 8)
local FORMATS, ZEROS = {}, {} -- of n numbers
for n = 1, 8 do FORMATS[n], ZEROS[n] = '>' .. string.rep('i8', n), string.rep(ZERO, n) end
local function add(kept, delta)
  local n = #delta / 8
  local sum, was = delta, true
  if kept and #kept >= #delta then
    local format = FORMATS[n]
    local a, b = {struct.unpack(format, kept)}, {struct.unpack(format, delta)}
    local safe = true
    for i = 1, n do
      local x, y = a[i], b[i]
      local z = x + y
      safe = safe and x > -B53 and x < B53 and y > -B53 and y < B53 and z > -B53 and z < B53
      a[i] = z
    end
    sum = safe and struct.pack(format, unpack(a, 1, n)) or exact(kept, delta)
    if not sum then return nil end
    was = string.sub(kept, 1, 8) == ZERO
  end
  return sum, sum == ZEROS[n], was, string.sub(sum, 1, 8) == ZERO
end

-- head is what stands before the document in a kept value, after '=': its first
-- four bytes say how long it is. '-' where nothing is kept.
local function head(kept)
  if not kept then return '-' end
  local size = 0
  if #kept >= 4 then size = struct.unpack('>I4', kept) end
  if size < 4 or size > #kept then size = math.min(#kept, 64) end
  return '=' .. string.sub(kept, 1, size)
end

-- Commands over many fields, in parts that fit Lua's stack.
local PART = 1000

local function hmget(key, names)
  local out = {}
  for from = 1, #names, PART do
    local to = math.min(from + PART - 1, #names)
    local part = redis.call('HMGET', key, unpack(names, from, to))
    for i = 1, to - from + 1 do out[from + i - 1] = part[i] end
  end
  return out
end

local function many(command, key, args)
  for from = 1, #args, PART do
    redis.call(command, key, unpack(args, from, math.min(from + PART - 1, #args)))
  end
end
