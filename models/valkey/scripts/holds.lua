-- Return whether a condition holds for a value, which is false if there is none. Each of its two words is empty for no
-- condition, '*' for any value, or tags joined by commas.
local function named(value, words)
    return value ~= false and (words == '*' or string.find(words, redis.sha1hex(value), 1, true) ~= nil)
end
local function holds(value, match, none_match)
    return (match == '' or named(value, match)) and (none_match == '' or not named(value, none_match))
end
