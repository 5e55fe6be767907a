-- After the prelude of every script of the control record. A lane has the fields
-- t, o, b, p and m with its number: token, owner, beat, place in the log, how often
-- that was moved.
local function token(lane)
  local kept = redis.call('HGET', KEYS[1], 't' .. lane)
  if kept and #kept < 20 and string.match(kept, '^[1-9]%d*$') then return kept end
  return '0'
end

-- What docket does not write counts as never.
local function moved(lane)
  local kept = redis.call('HGET', KEYS[1], 'm' .. lane)
  return kept and #kept < 16 and string.match(kept, '^%d+$') and tonumber(kept) or 0
end

-- A lane is its owner's under its token, unless it was moved less often than the
-- owner knows: then the server went back to what it was some time ago.
local function owned(lane, its, moves)
  return token(lane) == its and moved(lane) >= tonumber(moves)
end
