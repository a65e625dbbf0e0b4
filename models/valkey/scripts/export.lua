-- Return the values, the milliseconds until each expires (below 0 for never), and the server's clock.
local expiries = {}
for i, name in ipairs(KEYS) do
    expiries[i] = redis.call('PTTL', name)
end
return {redis.call('MGET', unpack(KEYS)), expiries, redis.call('TIME')}
