-- Return the value, and the milliseconds until it expires (below 0 for never).
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
