-- KEYS: those with a condition, those to read, those to write, those to delete.
-- ARGV: how many of each; seconds or ''; match and none_match of each condition; the values to write.
-- Return the numbers of the conditions that failed, counted from 1; if none did, also the values that were read and how
-- many keys were deleted.
local conditions, reads, writes, deletes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local failed = {}
for i = 1, conditions do
    if not holds(redis.call('GET', KEYS[i]), ARGV[4 + 2 * i], ARGV[5 + 2 * i]) then
        failed[#failed + 1] = i
    end
end
if #failed > 0 then
    return {failed}
end
local values, deleted = {}, 0
if reads > 0 then
    values = redis.call('MGET', unpack(KEYS, conditions + 1, conditions + reads))
end
local first, first_value = conditions + reads, 5 + 2 * conditions
if writes > 0 and ARGV[5] == '' then
    local entries = {}
    for i = 1, writes do
        entries[2 * i - 1] = KEYS[first + i]
        entries[2 * i] = ARGV[first_value + i]
    end
    redis.call('MSET', unpack(entries))
else
    for i = 1, writes do
        redis.call('SET', KEYS[first + i], ARGV[first_value + i], 'EX', ARGV[5])
    end
end
if deletes > 0 then
    deleted = redis.call('DEL', unpack(KEYS, first + writes + 1, first + writes + deletes))
end
return {failed, values, deleted}
