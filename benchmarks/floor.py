"""The floor: what a GET, PUT or DELETE of one key costs at least with Gunicorn, redis-py and orjson.

It checks nothing, logs nothing and knows no expiry: whatever the service costs more is the service's own.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import redis


PATH = len("/keys/")
HEADERS = [("Content-Type", "application/json")]

client = redis.Redis.from_url(os.environ["FLASKVSTORE_REDIS_URL"])


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Answer a request as a bare WSGI function.

    :param environ: the request
    :param start_response: takes the status and the headers
    """
    key = environ["PATH_INFO"][PATH:]
    name = f"kv:{key}"
    status = "200 OK"
    answer: dict[str, Any]
    match environ["REQUEST_METHOD"]:
        case "PUT":
            client.set(name, environ["wsgi.input"].read())
            answer = {"stored": 1}
        case "DELETE":
            answer = {"deleted": client.delete(name)}
        case _:
            value: Any = client.get(name)
            if value is None:
                status, answer = "404 Not Found", {"detail": "There is no such key."}
            else:
                answer = {key: value.decode()}
    body = orjson.dumps(answer)
    start_response(status, [*HEADERS, ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
