-- Return the sizes of the values in bytes (false where there is no string), the milliseconds until each expires (below 0
-- for never), and the server's clock.
local sizes, expiries = {}, {}
for i, name in ipairs(KEYS) do
    local size = redis.pcall('STRLEN', name)
    if type(size) == 'table' then
        if not string.find(tostring(size.err), 'WRONGTYPE') then
            return size
        end
        size = false
    end
    expiries[i] = redis.call('PTTL', name)
    sizes[i] = expiries[i] ~= -2 and size
end
return {sizes, expiries, redis.call('TIME')}
