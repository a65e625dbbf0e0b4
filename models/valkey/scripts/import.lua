-- ARGV: for each of KEYS the second since 1970 at which it expires, or '', and its value.
-- Return how many had expired already and were left out.
local now, skipped = tonumber(redis.call('TIME')[1]), 0
for i, name in ipairs(KEYS) do
    local expires_at, value = ARGV[2 * i - 1], ARGV[2 * i]
    if expires_at == '' then
        redis.call('SET', name, value)
    elseif tonumber(expires_at) > now then
        redis.call('SET', name, value, 'EXAT', expires_at)
    else
        skipped = skipped + 1
    end
end
return skipped
