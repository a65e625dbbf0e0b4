-- ARGV: the length of the window in seconds. Return the count in it, and the milliseconds until it ends.
local count = redis.call('INCRBY', KEYS[1], 1)
if count == 1 then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}
