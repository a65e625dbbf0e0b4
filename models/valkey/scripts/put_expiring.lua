-- ARGV: seconds, then the value for each of KEYS.
for i, name in ipairs(KEYS) do
    redis.call('SET', name, ARGV[i + 1], 'EX', ARGV[1])
end
return 'done'
