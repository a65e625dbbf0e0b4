-- ARGV: the positions of the first and the last byte, as GETRANGE takes them.
-- Return these bytes, the size of the value, and the milliseconds until it expires (below 0 for never); false if there
-- is no value.
local expires_in = redis.call('PTTL', KEYS[1])
if expires_in == -2 then
    return false
end
return {redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[2]), redis.call('STRLEN', KEYS[1]), expires_in}
