-- ARGV: match, none_match, the value, seconds or ''. Return 'done' or 'failed'.
if not holds(KEYS[1], ARGV[1], ARGV[2]) then
    return 'failed'
end
if ARGV[4] == '' then
    redis.call('SET', KEYS[1], ARGV[3])
else
    redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
end
return 'done'
