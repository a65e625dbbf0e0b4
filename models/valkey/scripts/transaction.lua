-- KEYS: those with a condition, those to read, those to write, those to delete.
-- ARGV: how many of each; seconds or ''; how many bytes of values may be compared with tags, and how many may be read;
-- match and none_match of each condition; the values to write.
-- Return {'done', the values that were read, how many keys were deleted}, {'failed', the numbers of the conditions that
-- do not hold, counted from 1}, or {'compares' or 'reads', the bytes that are too many}.
local conditions, reads, writes, deletes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local failed, bytes = {}, 0
for i = 1, conditions do
    if compares(ARGV[6 + 2 * i]) or compares(ARGV[7 + 2 * i]) then
        bytes = bytes + bytes_of(KEYS[i])
    end
end
if bytes > tonumber(ARGV[6]) then
    return {'compares', bytes}
end
for i = 1, conditions do
    if not holds(KEYS[i], ARGV[6 + 2 * i], ARGV[7 + 2 * i]) then
        failed[#failed + 1] = i
    end
end
if #failed > 0 then
    return {'failed', failed}
end
bytes = 0
for i = conditions + 1, conditions + reads do
    bytes = bytes + bytes_of(KEYS[i])
end
if bytes > tonumber(ARGV[7]) then
    return {'reads', bytes}
end
local values, deleted = {}, 0
if reads > 0 then
    values = redis.call('MGET', unpack(KEYS, conditions + 1, conditions + reads))
end
local first, first_value = conditions + reads, 7 + 2 * conditions
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
return {'done', values, deleted}
