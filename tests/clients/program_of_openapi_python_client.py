"""Does every operation with the client that openapi-python-client makes."""

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

from keys_client import AuthenticatedClient
from keys_client.api.health import check_live, check_ready, is_live, is_ready
from keys_client.api.keys import (
    change_key,
    change_value,
    count_keys,
    delete_key,
    delete_keys,
    delete_value,
    get_key,
    get_value,
    has_key,
    has_value,
    list_keys,
    put_key,
    put_value,
    store_keys,
    transact,
)
from keys_client.api.token import check_token, get_token
from keys_client.models import Change, Pairs, StoreKeysQueryPairs, TextPairs, Transaction
from keys_client.types import File


plan = json.loads(Path(sys.argv[1]).read_text())


with AuthenticatedClient(base_url=plan["url"], token=plan["token"]) as client:

    def parsed(operation: Any, *arguments: Any, **named: Any) -> Any:
        """Do an operation, and give its answer as it is in JSON."""
        answer = operation.sync(*arguments, client=client, **named)
        return answer.to_dict()

    assert parsed(check_live) == parsed(check_ready) == {"status": "ok"}
    assert is_live.sync_detailed(client=client).status_code == 200
    assert is_ready.sync_detailed(client=client).status_code == 200

    allowed = {"required": True, "name": "all", "namespace": "all", "scopes": ["read", "write", "delete"]}
    assert parsed(get_token) == allowed
    assert check_token.sync_detailed(client=client).status_code == 200

    pairs, query = Pairs.from_dict({"word": "one"}), StoreKeysQueryPairs.from_dict({"world": "two"})
    assert parsed(store_keys, body=pairs, query_pairs=query, expire_in=60) == {"stored": 2}
    assert parsed(store_keys, body=TextPairs.from_dict({"form": "a form"})) == {"stored": 1}
    assert parsed(list_keys, filter_="wor$") == {"word": "one", "world": "two"}
    assert parsed(list_keys, filter_="wo$d", values=False) == {"word": None, "world": None}
    assert count_keys.sync_detailed(client=client, filter_="wor$").headers["Total-Count"] == "2"

    assert parsed(change_key, "counter", body=Change(increment=2**40)) == {"counter": str(2**40)}
    assert parsed(change_key, "counter", body=Change(append="0")) == {"counter": f"{2**40}0"}
    assert parsed(change_key, "word", body=Change(expire_in=30)) == {"word": "one"}

    assert parsed(put_value, "bytes", body=File(io.BytesIO(b"\xff"))) == {"stored": 1}
    changed = change_value.sync("bytes", client=client, body=Change(append="0"))
    assert changed.payload.read() == get_value.sync("bytes", client=client).payload.read() == b"\xff0"
    assert has_value.sync_detailed("bytes", client=client).headers["Content-Length"] == "2"
    assert parsed(delete_value, "bytes") == {"deleted": 1}

    tag = get_key.sync_detailed("word", client=client).headers["ETag"]
    transaction = {
        "if": {"word": tag, "world": "*", "lock": None},
        "get": ["word", "nothing"],
        "put": {"lock": "mine"},
        "delete": ["world"],
        "expire_in": 30,
    }
    outcome = {"values": {"word": "one", "nothing": None}, "stored": 1, "deleted": 1}
    assert parsed(transact, body=Transaction.from_dict(transaction)) == outcome

    refused = put_key.sync_detailed("word", client=client, body=File(io.BytesIO(b"three")), if_none_match="*")
    assert (refused.status_code, refused.parsed.code) == (412, "precondition_failed")
    refused = get_key.sync_detailed("nothing", client=client)
    assert (refused.status_code, refused.parsed.code) == (404, "key_not_found")

    assert parsed(delete_key, "lock") == {"deleted": 1}
    assert parsed(delete_keys, filter_="wor$") == {"deleted": 1}
    assert parsed(delete_keys) == {"deleted": 2}

    for entry in plan["entries"]:
        value = File(io.BytesIO(base64.b64decode(entry["base64"])))
        assert parsed(put_key, entry["key"], body=value) == {"stored": 1}, entry
        assert has_key.sync_detailed(entry["key"], client=client).status_code == 200, entry
        assert parsed(get_key, entry["key"]) == {entry["key"]: entry["json"]}, entry
        assert parsed(store_keys, body=Pairs.from_dict({entry["key"]: entry["json"]})) == {"stored": 1}, entry
