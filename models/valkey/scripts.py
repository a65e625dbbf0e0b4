"""What is decided inside the server: Lua scripts, each of them one atomic step.

They run on Redis 6.2 and newer and on Valkey, and name every key they touch in ``KEYS``. See
https://redis.io/docs/latest/develop/programmability/eval-intro/.
"""

from models.valkey.client import Script


# Whether a condition holds for a value, which is false if there is none. See models/change.py for its two words.
_HOLDS = """
local function named(value, words)
    if words == '*' then
        return value ~= false
    end
    return value ~= false and string.find(words, redis.sha1hex(value), 1, true) ~= nil
end
local function holds(value, match, none_match)
    return (match == '' or named(value, match)) and (none_match == '' or not named(value, none_match))
end
"""

# The outcome of a change of one key.
DONE, FAILED, MISSING, NO_NUMBER, TOO_LARGE = 1, 0, -1, -2, -3

# ARGV: nothing. Gives the value, and the milliseconds until it expires (below 0 for never).
GET = Script("return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}")

# ARGV: match, none_match, value, seconds or "".
PUT_ONE = Script(f"""{_HOLDS}
if not holds(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2]) then
    return {FAILED}
end
if ARGV[4] == '' then
    redis.call('SET', KEYS[1], ARGV[3])
else
    redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
end
return {DONE}
""")

# ARGV: match, none_match.
DELETE_ONE = Script(f"""{_HOLDS}
if not holds(redis.call('GET', KEYS[1]), ARGV[1], ARGV[2]) then
    return {FAILED}
end
return redis.call('DEL', KEYS[1]) == 1 and {DONE} or {MISSING}
""")

# ARGV: match, none_match, "increment" or "append" or "", its operand, seconds or "never" or "", "keep" or "", the
# largest value in bytes. Gives the outcome, the new value and its milliseconds, or the outcome and a size.
PATCH = Script(f"""{_HOLDS}
local name, operation, operand, expiry = KEYS[1], ARGV[3], ARGV[4], ARGV[5]
local value = redis.call('GET', name)
if not holds(value, ARGV[1], ARGV[2]) then
    return {{{FAILED}}}
end
if operation == 'increment' then
    local reply = redis.pcall('INCRBY', name, operand)
    if type(reply) == 'table' and reply.err then
        local text = tostring(reply.err)
        if string.find(text, 'integer') or string.find(text, 'overflow') then
            return {{{NO_NUMBER}}}
        end
        return reply
    end
elseif operation == 'append' then
    local size = #(value or '') + #operand
    if size > tonumber(ARGV[7]) then
        return {{{TOO_LARGE}, size}}
    end
    redis.call('APPEND', name, operand)
elseif not value then
    return {{{MISSING}}}
end
if expiry == 'never' then
    redis.call('PERSIST', name)
elseif expiry ~= '' and not (ARGV[6] == 'keep' and redis.call('PTTL', name) >= 0) then
    redis.call('EXPIRE', name, expiry)
end
return {{{DONE}, redis.call('GET', name), redis.call('PTTL', name)}}
""")

# ARGV: seconds or "", then the value for each of KEYS.
PUT_EXPIRING = Script("""
for i, name in ipairs(KEYS) do
    redis.call('SET', name, ARGV[i + 1], 'EX', ARGV[1])
end
return {}
""")

# ARGV: seconds or "", then the value for each of KEYS; writes only if all of them exist (or none of them does).
# Gives the numbers of those that are in the way, counted from 1.
_PUT_ALL_IF = """
local failed = {{}}
for i, name in ipairs(KEYS) do
    if redis.call('EXISTS', name) ~= {wanted} then
        failed[#failed + 1] = i
    end
end
if #failed > 0 then
    return failed
end
for i, name in ipairs(KEYS) do
    if ARGV[1] == '' then
        redis.call('SET', name, ARGV[i + 1])
    else
        redis.call('SET', name, ARGV[i + 1], 'EX', ARGV[1])
    end
end
return {{}}
"""
PUT_IF_ALL_EXIST = Script(_PUT_ALL_IF.format(wanted=1))
PUT_IF_NONE_EXISTS = Script(_PUT_ALL_IF.format(wanted=0))

# KEYS: those with a condition, those to read, those to write, those to delete. ARGV: how many of each, seconds or "",
# then for each condition "*", "" (absent) or a tag, then the values.
# Gives the numbers of the conditions that failed; and if none did, the values read and how many were deleted.
TRANSACTION = Script("""
local conditions, reads, writes, deletes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local failed = {}
for i = 1, conditions do
    local value, wanted = redis.call('GET', KEYS[i]), ARGV[5 + i]
    local tagged = value and (wanted == '*' or (wanted ~= '' and redis.sha1hex(value) == wanted))
    if not (tagged or (wanted == '' and not value)) then
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
local first = conditions + reads
if writes > 0 and ARGV[5] == '' then
    local pairs_ = {}
    for i = 1, writes do
        pairs_[2 * i - 1] = KEYS[first + i]
        pairs_[2 * i] = ARGV[5 + conditions + i]
    end
    redis.call('MSET', unpack(pairs_))
else
    for i = 1, writes do
        redis.call('SET', KEYS[first + i], ARGV[5 + conditions + i], 'EX', ARGV[5])
    end
end
if deletes > 0 then
    deleted = redis.call('DEL', unpack(KEYS, first + writes + 1, first + writes + deletes))
end
return {failed, values, deleted}
""")

# ARGV: nothing. Gives the values, the milliseconds until each expires (below 0 for never), and the server's clock.
EXPORT = Script("""
local expiries = {}
for i, name in ipairs(KEYS) do
    expiries[i] = redis.call('PTTL', name)
end
return {redis.call('MGET', unpack(KEYS)), expiries, redis.call('TIME')}
""")

# ARGV: for each of KEYS the second at which it expires, or "", and its value. Gives how many have expired meanwhile.
IMPORT = Script("""
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
""")

# ARGV: the length of the window in seconds. Gives the count in it, and the milliseconds until it ends.
HIT = Script("""
local count = redis.call('INCRBY', KEYS[1], 1)
if count == 1 then
    redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}
""")
