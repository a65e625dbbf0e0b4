-- ARGV: how many bytes the values of several keys may have together.
-- Return the values, the milliseconds until each expires (below 0 for never), and the server's clock; or only how many
-- bytes were read when these were too many.
local values, expiries, bytes = {}, {}, 0
for first = 1, #KEYS, 8 do
    local last = math.min(first + 7, #KEYS)
    for i, value in ipairs(redis.call('MGET', unpack(KEYS, first, last))) do
        values[#values + 1] = value
        bytes = bytes + #(value or '')
    end
    if bytes > tonumber(ARGV[1]) and #KEYS > 1 then
        return {bytes}
    end
end
for i, name in ipairs(KEYS) do
    expiries[i] = redis.call('PTTL', name)
end
return {values, expiries, redis.call('TIME')}
