"""What is asked of each candidate: the requests for one key, a page, and transactions; and what grows with what."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import redis

from benchmarks.candidates import ETCD, FASTAPI, FLOOR, GRANIAN, METRICS, SERVICE, SILENT, TUTORIAL, WEBDIS
from benchmarks.load import CONNECTIONS, Request
from models.change import tag_of


VALUE = b"a value of forty bytes, as many of them "
NUMBERED_KEYS = 100_000
TRANSACTION_KEYS = 1_000
MIXED_KEYS = 1_000
KEY = "word"
OURS = (SERVICE, METRICS, SILENT, GRANIAN)
OTHERS = (FLOOR, TUTORIAL, FASTAPI)
SIZES = {"10 B": 10, "1 KiB": 1024, "100 KiB": 100 * 1024, "1 MiB": 1024 * 1024}
MANY_CONNECTIONS = (1, 16, 64, 256, 1_000)
# Those of the tables of growth.
GROWING = (SERVICE, GRANIAN, FASTAPI)


@dataclass(frozen=True)
class Case:
    """What is asked.

    :param name: what it is called in the report
    :param requests: what each candidate is asked
    :param prepare: makes the store ready for each run
    :param keys: how many keys one request is about
    :param connections: on how many connections it is asked
    :param grows_with: what is more of in each case of a group; empty for a case that stands alone
    """

    name: str
    requests: Mapping[str, Request]
    prepare: Callable[[redis.Redis], object]
    keys: int = 1
    connections: int = CONNECTIONS
    grows_with: str = ""


def cases(directory: Path) -> list[Case]:
    """Return all of them.

    :param directory: for the bodies of requests
    """
    value = _file(directory, "value", VALUE)
    increment = _file(directory, "increment", b'{"increment": 1}')
    none = {"If-None-Match": f'"{tag_of(VALUE)}-json"'}
    patch = {"Content-Type": "application/merge-patch+json"}
    numbered = "/keys/number:%d"
    mixed = partial(Request, "GET", body=value, limit=MIXED_KEYS)
    page = Request("GET", "/keys?limit=100")
    return [
        Case(
            "GET",
            {
                **_all(Request("GET", f"/keys/{KEY}"), *OURS, *OTHERS),
                WEBDIS: Request("GET", f"/GET/kv:{KEY}"),
                ETCD: etcd_request(directory, "range", key=KEY.encode()),
            },
            _one,
        ),
        Case(
            "PUT",
            {
                **_all(Request("PUT", f"/keys/{KEY}", value), *OURS, *OTHERS),
                WEBDIS: Request("PUT", f"/SET/kv:{KEY}", value),
                ETCD: etcd_request(directory, "put", key=KEY.encode(), value=VALUE),
            },
            _one,
        ),
        Case(
            "90 % GET and 10 % PUT of 1,000 keys",
            {
                **_all(mixed(numbered, put_path=numbered), *OURS, *OTHERS),
                WEBDIS: mixed("/GET/kv:number:%d", put_path="/SET/kv:number:%d"),
            },
            _many,
        ),
        Case("HEAD", _all(Request("HEAD", f"/keys/{KEY}"), *OURS, *OTHERS), _one),
        Case(
            "DELETE",
            {
                **_all(Request("DELETE", numbered, limit=NUMBERED_KEYS), *OURS, *OTHERS),
                WEBDIS: Request("GET", "/DEL/kv:number:%d", limit=NUMBERED_KEYS),
            },
            _many,
        ),
        Case(
            "PATCH increment",
            {
                **_all(Request("PATCH", "/keys/visits", increment, patch), *OURS),
                WEBDIS: Request("GET", "/INCRBY/kv:visits/1"),
            },
            _one,
        ),
        Case(
            "GET of an absent key",
            {
                **_all(Request("GET", "/keys/absent", fails=True), *OURS, *OTHERS),
                WEBDIS: Request("GET", "/GET/kv:absent"),
            },
            _one,
        ),
        Case("GET answered with 304", _all(Request("GET", f"/keys/{KEY}", headers=none), *OURS), _one),
        Case("a page of 100", _all(page, *OURS), _hundred),
        Case("transaction: read 1,000 keys", _transaction(directory, "get"), _many, TRANSACTION_KEYS),
        Case("transaction: write 1,000 keys", _transaction(directory, "put"), _many, TRANSACTION_KEYS),
        *(_of_size(name, size, form) for form in ("JSON", "bytes") for name, size in SIZES.items()),
        *(
            Case(
                f"{connections:,}",
                {
                    **_all(Request("GET", f"/keys/{KEY}"), *GROWING),
                    WEBDIS: Request("GET", f"/GET/kv:{KEY}"),
                    ETCD: etcd_request(directory, "range", key=KEY.encode()),
                },
                _one,
                connections=connections,
                grows_with="connections",
            )
            for connections in MANY_CONNECTIONS
        ),
    ]


def etcd_request(directory: Path, what: str, **members: bytes) -> Request:
    """Return a request to etcd's gateway, which takes keys and values as base64 in JSON.

    :param directory: for its body
    :param what: "range" to read, or "put"
    :param members: the key, and the value
    """
    encoded = {name: b64encode(value).decode() for name, value in members.items()}
    return Request("POST", f"/v3/kv/{what}", _file(directory, f"etcd-{what}", json.dumps(encoded).encode()))


def _of_size(name: str, size: int, form: str) -> Case:
    path, suffix = ("/keys", "") if form == "JSON" else ("/values", ".txt")
    return Case(
        f"{name}, {form}",
        {**_all(Request("GET", f"{path}/{KEY}"), *GROWING), WEBDIS: Request("GET", f"/GET/kv:{KEY}{suffix}")},
        lambda client: client.set(f"kv:{KEY}", b"x" * size),
        grows_with="value",
    )


def _transaction(directory: Path, verb: str) -> dict[str, Request]:
    names = [f"number:{number}" for number in range(TRANSACTION_KEYS)]
    ours: dict[str, object]
    if verb == "get":
        ours, webdis = {"get": names}, ["MGET", *(f"kv:{name}" for name in names)]
    else:
        ours = {"put": dict.fromkeys(names, VALUE.decode())}
        webdis = ["MSET", *(word for name in names for word in (f"kv:{name}", VALUE.decode().replace(" ", "%20")))]
    json_type = {"Content-Type": "application/json"}
    body = _file(directory, f"{verb}.json", json.dumps(ours).encode())
    return {
        **_all(Request("POST", "/keys", body, json_type), *OURS),
        WEBDIS: Request("POST", "/", _file(directory, f"{verb}.webdis", "/".join(webdis).encode())),
    }


def _all(request: Request, *names: str) -> dict[str, Request]:
    return dict.fromkeys(names, request)


def _file(directory: Path, name: str, content: bytes) -> Path:
    file = directory / name
    file.write_bytes(content)
    return file


def _one(client: redis.Redis) -> None:
    client.set(f"kv:{KEY}", VALUE)


def _hundred(client: redis.Redis) -> None:
    client.flushall()
    client.mset({f"kv:number:{number}": VALUE for number in range(NUMBERED_KEYS // 10)})


def _many(client: redis.Redis) -> None:
    client.mset({f"kv:number:{number}": VALUE for number in range(NUMBERED_KEYS)})
