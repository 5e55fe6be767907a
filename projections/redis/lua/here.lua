-- KEYS any; ARGV nonce, kinds. Whether all of them are there.
if lost(ARGV[2]) then return 'LOST' end
return 'OK'
