-- ARGV: match, none_match. Return 'done', 'failed' or 'missing'.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
    return 'failed'
end
return redis.call('DEL', KEYS[1]) == 1 and 'done' or 'missing'
