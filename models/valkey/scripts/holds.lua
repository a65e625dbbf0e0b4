-- Return whether a condition holds for a key. Each of its two words is empty for no condition, '*' for any value, or tags
-- joined by commas. A value is read only to be compared with tags. A key of another type is an error, as it is for STRLEN.
local function compares(words)
    return words ~= '' and words ~= '*'
end
local function holds(name, match, none_match)
    local exists, tag = redis.call('STRLEN', name) > 0 or redis.call('EXISTS', name) == 1, nil
    if exists and (compares(match) or compares(none_match)) then
        tag = redis.sha1hex(redis.call('GET', name))
    end
    local function named(words)
        return exists and (words == '*' or string.find(words, tag, 1, true) ~= nil)
    end
    return (match == '' or named(match)) and (none_match == '' or not named(none_match))
end
