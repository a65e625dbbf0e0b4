-- ARGV: the length of the window in seconds. Return the count in it, and the milliseconds until it ends.
local count = redis.pcall('INCRBY', KEYS[1], 1)
if type(count) == 'table' then
    if not string.find(count.err, 'OOM', 1, true) then
        return count
    end
    -- A full server cannot count, and must not refuse reads and deletions for that.
    count = tonumber(redis.call('GET', KEYS[1]) or 0)
elseif count == 1 then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}
