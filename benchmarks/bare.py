"""What a list, an export and an import cost at least in Python: a loop of redis-py that does nothing else.

`python -m benchmarks.bare list SOCKET`, the same with `expiries` in place of `list`, and
`python -m benchmarks.bare import SOCKET FILE` print their seconds as JSON.
"""

import json
import sys
import time
from pathlib import Path

import redis


KEYS_A_STEP = 1_000


def read_all(client: redis.Redis, *, expiries: bool) -> None:
    """Read every key and value, and perhaps when each expires."""
    cursor = None
    while cursor != 0:
        cursor, names = client.scan(cursor or 0, match="kv:*", count=KEYS_A_STEP)
        if names and expiries:
            pipeline = client.pipeline(transaction=False)
            pipeline.mget(names)
            for name in names:
                pipeline.pttl(name)
            pipeline.execute()
        elif names:
            client.mget(names)


def write_all(client: redis.Redis, file: Path) -> None:
    """Write the lines of a file as a service exports them."""
    pipeline = client.pipeline(transaction=False)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            record = json.loads(line)
            # The last line has their number.
            if "key" in record:
                pipeline.set("kv:" + record["key"], record["value"])
            if number % KEYS_A_STEP == 0:
                pipeline.execute()
    pipeline.execute()


def main(what: str, socket: str, *files: str) -> None:
    """Do it, and say how long it took."""
    client = redis.Redis(unix_socket_path=socket)
    client.ping()
    started, used = time.perf_counter(), time.process_time()
    if what == "import":
        write_all(client, Path(files[0]))
    else:
        read_all(client, expiries=what == "expiries")
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}))


if __name__ == "__main__":
    main(*sys.argv[1:])
