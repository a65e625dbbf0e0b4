"""Does every operation with the client that openapi-generator makes for Python."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from flaskvstore_client import ApiClient, Change, Configuration, HealthApi, KeysApi, TokenApi, Transaction, Value
from flaskvstore_client.exceptions import ApiException


plan = json.loads(Path(sys.argv[1]).read_text())
configuration = Configuration(host=plan["url"], access_token=plan["token"])


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as they are in JSON."""
    return {key: value and value.to_dict() for key, value in values.items()}


with ApiClient(configuration) as client:
    health, keys = HealthApi(client), KeysApi(client)

    assert health.check_live().status == "ok"
    assert health.is_live_with_http_info().status_code == 200
    assert health.check_ready().status == "ok"
    assert health.is_ready_with_http_info().status_code == 200

    token = TokenApi(client)
    assert (token.get_token().name, token.get_token().scopes) == ("all", ["read", "write", "delete"])
    assert token.check_token_with_http_info().status_code == 200

    assert keys.store_keys(pairs={"word": Value("one")}, query_pairs={"world": "two"}, expire_in=60).stored == 2
    assert shown(keys.list_keys(filter="wor$")) == {"word": "one", "world": "two"}
    assert shown(keys.list_keys(filter="wo$d", values=False)) == {"word": None, "world": None}
    counted = keys.count_keys_with_http_info(filter="wor$")
    assert counted.headers is not None
    assert counted.headers["Total-Count"] == "2"

    assert shown(keys.change_key("counter", Change(increment=2**40))) == {"counter": str(2**40)}
    assert shown(keys.change_key("counter", Change(append=Value("0")))) == {"counter": f"{2**40}0"}
    assert shown(keys.change_key("word", Change(expire_in=30))) == {"word": "one"}

    assert keys.put_value("bytes", value=b"\xff").stored == 1
    assert keys.change_value("bytes", Change(append=Value("0"))) == b"\xff0"
    assert keys.get_value("bytes") == b"\xff0"
    assert (keys.has_value_with_http_info("bytes").headers or {})["Content-Length"] == "2"
    assert keys.delete_value("bytes").deleted == 1

    tag = keys.get_key_with_http_info("word").headers["ETag"]
    outcome = keys.transact(
        Transaction.from_dict(
            {
                "if": {"word": tag, "world": "*", "lock": None},
                "get": ["word", "nothing"],
                "put": {"lock": "mine"},
                "delete": ["world"],
                "expire_in": 30,
            }
        )
    )
    assert shown(outcome.values) == {"word": "one", "nothing": None}
    assert (outcome.stored, outcome.deleted) == (1, 1)

    with pytest.raises(ApiException) as refused:
        keys.put_key("word", value=b"three", if_none_match="*")
    assert (refused.value.status, refused.value.data.code) == (412, "precondition_failed")
    with pytest.raises(ApiException) as refused:
        keys.get_key("nothing")
    assert (refused.value.status, refused.value.data.code) == (404, "key_not_found")

    assert keys.delete_key("lock").deleted == 1
    assert keys.delete_keys(filter="wor$").deleted == 1
    assert keys.delete_keys().deleted == 1

    for entry in plan["entries"]:
        assert keys.put_key(entry["key"], value=base64.b64decode(entry["base64"])).stored == 1, entry
        assert keys.has_key_with_http_info(entry["key"]).status_code == 200, entry
        assert shown(keys.get_key(entry["key"])) == {entry["key"]: entry["json"]}, entry
        value = Value.from_json(json.dumps(entry["json"]))
        assert keys.store_keys(pairs={entry["key"]: value}).stored == 1, entry
