-- ARGV: match, none_match; 'increment', 'append' or ''; its operand; seconds, 'never' or ''; 'keep' to set an expiry
-- only if there is none, or ''; the largest value in bytes.
-- Return {'done', the new value, the milliseconds until it expires}, {'too_large', its size in bytes}, {'failed'},
-- {'missing'} or {'not_an_integer'}.
local name, operation, operand, expiry = KEYS[1], ARGV[3], ARGV[4], ARGV[5]
if not holds(name, ARGV[1], ARGV[2]) then
    return {'failed'}
end
if operation == 'increment' then
    local reply = redis.pcall('INCRBY', name, operand)
    if type(reply) == 'table' and reply.err then
        local text = tostring(reply.err)
        if string.find(text, 'integer') or string.find(text, 'overflow') then
            return {'not_an_integer'}
        end
        return reply
    end
elseif operation == 'append' then
    local size = redis.call('STRLEN', name) + #operand
    if size > tonumber(ARGV[7]) then
        return {'too_large', size}
    end
    redis.call('APPEND', name, operand)
elseif redis.call('EXISTS', name) == 0 then
    return {'missing'}
end
if expiry == 'never' then
    redis.call('PERSIST', name)
elseif expiry ~= '' and not (ARGV[6] == 'keep' and redis.call('PTTL', name) >= 0) then
    redis.call('EXPIRE', name, expiry)
end
return {'done', redis.call('GET', name), redis.call('PTTL', name)}
