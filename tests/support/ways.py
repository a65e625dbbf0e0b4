"""Several ways to do one thing: what a test says holds for each of them, whatever the service sends to its server."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from tests.support.clients import AS_NDJSON, NDJSON, Ask, ask_json, pages, target_of


EXISTS = {"If-Match": "*"}
NOTHING: Mapping[str, Any] = MappingProxyType({})

Put = Callable[[Ask, Mapping[str, bytes], int | None], int]
Delete = Callable[[Ask, str], int]
Listing = Callable[[Ask, str], dict[str, Any]]


def put_each(ask: Ask, values: Mapping[str, bytes], expire_in: int | None, headers: Mapping[str, str] = NOTHING) -> int:
    """Store one key after the other, and return how many were stored."""
    return sum(
        ask("PUT", target_of(key) + query(expire_in), value, headers).json["stored"] for key, value in values.items()
    )


def put_all(ask: Ask, values: Mapping[str, bytes], expire_in: int | None, headers: Mapping[str, str] = NOTHING) -> int:
    """Store them by one request."""
    return int(ask_json(ask, "PUT", "/keys" + query(expire_in), shown(values), headers).json["stored"])


def put_by_import(ask: Ask, values: Mapping[str, bytes], expire_in: int | None) -> int:
    """Store them by an import."""
    expiry = {} if expire_in is None else {"expires_at": int(time.time()) + expire_in}
    lines = [json.dumps({"key": key, "value": value, **expiry}) for key, value in shown(values).items()]
    return int(ask("PUT", "/keys", "\n".join(lines).encode(), NDJSON).json["stored"])


def put_by_transaction(
    ask: Ask, values: Mapping[str, bytes], expire_in: int | None, others: Mapping[str, Any] = NOTHING
) -> int:
    """Store them by a transaction, which does something else as well."""
    expiry = {} if expire_in is None else {"expire_in": expire_in}
    return int(ask_json(ask, "POST", "/keys", {"put": shown(values), **expiry, **others}).json["stored"])


def delete_by_transaction(ask: Ask, key: str, others: Mapping[str, Any] = NOTHING) -> int:
    """Delete a key by a transaction, which does something else as well."""
    return int(ask_json(ask, "POST", "/keys", {"delete": [key], **others}).json["deleted"])


def listed(ask: Ask, parameters: str) -> dict[str, Any]:
    """List entries."""
    entries: dict[str, Any] = ask("GET", f"/keys?{parameters}").json
    return entries


def listed_in_pages(ask: Ask, parameters: str) -> dict[str, Any]:
    """List entries page by page."""
    return {key: value for page in pages(ask, f"/keys?limit=300&{parameters}") for key, value in page.items()}


def exported(ask: Ask, parameters: str) -> dict[str, Any]:
    """Export entries whose keys are text."""
    lines = ask("GET", f"/keys?{parameters}", headers=AS_NDJSON).body.splitlines()
    *records, end = map(json.loads, lines)
    assert end == {"count": len(records)}
    return {record["key"]: record["value"] for record in records}


def query(expire_in: int | None) -> str:
    """Write an expiry as a query string."""
    return "" if expire_in is None else f"?expire_in={expire_in}"


def shown(values: Mapping[str, bytes]) -> dict[str, Any]:
    """Write values as JSON."""
    return {key: {"base64": base64.b64encode(value).decode()} for key, value in values.items()}


# To store values under keys that are there already.
PUTS: dict[str, Put] = {
    "one by one": put_each,
    "one by one on a condition": partial(put_each, headers=EXISTS),
    "at once": put_all,
    "at once on a condition": partial(put_all, headers=EXISTS),
    "by an import": put_by_import,
    "by a transaction": put_by_transaction,
    "by a transaction on a condition": partial(put_by_transaction, others={"if": {"a": "*"}}),
    "by a transaction that reads": partial(put_by_transaction, others={"get": ["a"]}),
}
DELETES: dict[str, Delete] = {
    "alone": lambda ask, key: int(ask("DELETE", target_of(key)).json["deleted"]),
    "on a condition": lambda ask, key: int(ask("DELETE", target_of(key), headers=EXISTS).json["deleted"]),
    "by a filter": lambda ask, key: int(ask("DELETE", f"/keys?filter={key}").json["deleted"]),
    "by a transaction": delete_by_transaction,
    "by a transaction that reads": lambda ask, key: delete_by_transaction(ask, key, {"get": [key]}),
}
LISTINGS: dict[str, Listing] = {"whole": listed, "in pages": listed_in_pages, "exported": exported}

every_put = pytest.mark.parametrize("put", PUTS.values(), ids=PUTS.keys())
every_delete = pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES.keys())
every_listing = pytest.mark.parametrize("listing", LISTINGS.values(), ids=LISTINGS.keys())
