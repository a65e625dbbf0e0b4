"""What other stores export, as records of an import."""

import json
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from .errors import InvalidRequest
from .files import CHUNK_BYTES
from .rdb import read_rdb
from .redis_url import read_server
from .values import to_json


# Key, value, and when it expires in seconds since 1970.
Found: TypeAlias = tuple[str | bytes, bytes, int | None]

# One `NAME=value` of a .env file, whose value may be in quotation marks and may have several lines then.
SETTING = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[\w.-]+)[ \t]*=[ \t]*
    (?: (?: "(?P<double>(?:[^"\\]|\\[\s\S])*)" | '(?P<single>[^']*)' )[ \t]*(?:\#.*)? | (?P<bare>.*?)[ \t]* )$""",
    re.MULTILINE | re.VERBOSE,
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class Source:
    """What is exported.

    :param kind: by what
    :param place: the path of the file, or the URL of a server
    """

    def __init__(self, kind: str, place: str) -> None:
        #: How many things cannot move, by what they are.
        self.left_out: Counter[str] = Counter()
        self._found = KINDS[kind](place, self)

    def records(self) -> Iterator[dict[str, Any]]:
        """Return the records.

        :raises InvalidRequest: the file is not what it should be
        """
        try:
            for name, content, expires_at in self._found:
                key = _text(name)
                if key is None:
                    self.left_out["key that is no UTF-8"] += 1
                    continue
                record: dict[str, Any] = {"key": key, "value": to_json(content)}
                yield record if expires_at is None else {**record, "expires_at": expires_at}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(f"This is no such file: {error}.") from None


def chunks(records: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Return records as an export has them, in chunks: a line each, and their number at the end."""
    count, chunk = 0, b""
    for record in records:
        count += 1
        chunk += json.dumps(record).encode() + b"\n"
        if len(chunk) >= CHUNK_BYTES:
            yield chunk
            chunk = b""
    yield chunk + b'{"count":%d}\n' % count


def _consul(place: str, source: Source) -> Iterator[Found]:
    """Read what `consul kv export` writes."""
    for entry in json.loads(Path(place).read_bytes()):
        source.left_out["flags of a key"] += bool(entry.get("flags"))
        yield entry["key"], b64decode(entry.get("value") or "", validate=True), None


def _etcd(place: str, source: Source) -> Iterator[Found]:
    """Read what `etcdctl get --prefix --write-out=json` writes, which does not say when a lease ends."""
    for entry in json.loads(Path(place).read_bytes())["kvs"]:
        source.left_out["lease of a key"] += bool(entry.get("lease"))
        yield b64decode(entry["key"], validate=True), b64decode(entry.get("value", ""), validate=True), None


def _cloudflare(place: str, source: Source) -> Iterator[Found]:
    """Read what `wrangler kv bulk put` reads."""
    for entry in json.loads(Path(place).read_bytes()):
        source.left_out["metadata of a key"] += bool(entry.get("metadata"))
        source.left_out["expiration_ttl of a key"] += bool(entry.get("expiration_ttl"))
        content = b64decode(entry["value"], validate=True) if entry.get("base64") else entry["value"].encode()
        yield entry["key"], content, entry.get("expiration")


def _dotenv(place: str, source: Source) -> Iterator[Found]:
    """Read `NAME=value`, a line each."""
    text = Path(place).read_text(encoding="utf-8")
    rest = SETTING.sub("", text)
    source.left_out["line that is no NAME=value"] += sum(
        bool(line.strip()) and not line.lstrip().startswith("#") for line in rest.split("\n")
    )
    for found in SETTING.finditer(text):
        double = found["double"]
        if double is not None:
            value = re.sub(r"\\(.)", lambda escape: ESCAPES.get(escape[1], escape[1]), double, flags=re.DOTALL)
        else:
            value = found["single"] if found["single"] is not None else found["bare"]
        yield found["name"], value.encode(), None


def _redis(place: str, source: Source) -> Iterator[Found]:
    """Read a dump.rdb, or a server."""
    read = read_server if "://" in place else read_rdb
    return read(place, source.left_out)


def _text(name: str | bytes) -> str | None:
    try:
        return name if isinstance(name, str) else name.decode()
    except UnicodeDecodeError:
        return None


KINDS: dict[str, Callable[[str, Source], Iterator[Found]]] = {
    "consul": _consul,
    "etcd": _etcd,
    "redis": _redis,
    "dotenv": _dotenv,
    "cloudflare": _cloudflare,
}
