-- Return how many bytes the value of a key has; 0 if there is none, or one of another type.
local function bytes_of(name)
    local bytes = redis.pcall('STRLEN', name)
    return type(bytes) == 'number' and bytes or 0
end
