-- One kind of request, over and over; each %d of its path is a number that counts up to a limit and starts again.
-- With a path for PUT a tenth of the requests write the body there, the others have none, and the numbers are random: of
-- 1,000 the first one comes in every sixth request.
-- Arguments: method, path, file with the body or "", limit, path for PUT or "", then name and value of each header.

local method, path, limit, put_path, first, body
local number = 0

function init(args)
    method, path, limit, put_path = args[1], args[2], tonumber(args[4]), args[5]
    if args[3] ~= "" then
        local file = io.open(args[3], "rb")
        body = file:read("*a")
        file:close()
    end
    for i = 6, #args, 2 do
        wrk.headers[args[i]] = args[i + 1]
    end
    -- What does not change is written once: wrk must not be slower than what it measures.
    if not string.find(path, "%%d") then
        first = wrk.format(method, path, nil, body)
    end
end

function request()
    if first then
        return first
    end
    if put_path ~= "" then
        number = math.floor(limit * math.random() ^ 4)
        if math.random() < 0.1 then
            return wrk.format("PUT", string.format(put_path, number), nil, body)
        end
        return wrk.format(method, string.format(path, number))
    end
    number = number % limit + 1
    return wrk.format(method, string.format(path, number - 1), nil, body)
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.stdout:write(string.format(
        '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
