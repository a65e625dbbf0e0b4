-- ARGV: 1 to write only if all of KEYS exist, 0 only if none does; seconds or ''; then the value for each of KEYS.
-- Return the numbers of the keys that are in the way, counted from 1; if there is one nothing is written.
local failed = {}
for i, name in ipairs(KEYS) do
    if redis.call('EXISTS', name) ~= tonumber(ARGV[1]) then
        failed[#failed + 1] = i
    end
end
if #failed > 0 then
    return failed
end
for i, name in ipairs(KEYS) do
    if ARGV[2] == '' then
        redis.call('SET', name, ARGV[i + 2])
    else
        redis.call('SET', name, ARGV[i + 2], 'EX', ARGV[2])
    end
end
return failed
