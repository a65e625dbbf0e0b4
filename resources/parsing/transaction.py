"""The body of `POST /keys`: a transaction."""

from typing import Any

from models.change import ABSENT, EXISTS, Condition, Transaction
from models.entry import check_expire_in, unique, values_from_json
from models.errors import TooManyKeys, quoted
from models.tokens import DELETE, READ, WRITE
from resources.errors import InvalidBody
from resources.media_types import JSON
from resources.parsing.conditions import tag_in
from resources.parsing.json_body import read_object


MAX_KEYS = 1_000
MEMBERS = ("if", "get", "put", "delete", "expire_in")


def read_transaction() -> Transaction:
    """Return the transaction that the body of the current request describes.

    :raises InvalidBody: it is not a transaction
    :raises TooManyKeys: it names too many keys
    :raises UnsupportedBody: the body has another media type
    """
    members = read_object(JSON)
    for name in members:
        if name not in MEMBERS:
            raise InvalidBody(f"There is no member {quoted(name)} in a transaction; allowed: {', '.join(MEMBERS)}.")
    conditions = {key: _condition(key, wanted) for key, wanted in _object(members, "if").items()}
    put = _object(members, "put")
    put = dict(zip(put, values_from_json(put, put.values()), strict=True))
    get, delete = _list(members, "get"), _list(members, "delete")
    total = len(conditions) + len(get) + len(put) + len(delete)
    if not total:
        raise InvalidBody("The transaction is empty: it needs at least one of if, get, put and delete.")
    if total > MAX_KEYS:
        raise TooManyKeys(
            f"The transaction names {total:,} keys: at most {MAX_KEYS:,} are allowed.", limit=MAX_KEYS, actual=total
        )
    for key in delete:
        if key in put:
            raise InvalidBody(f"The key {quoted(key)} is both in put and in delete: choose one.")
    expire_in = check_expire_in(members["expire_in"]) if "expire_in" in members else None
    if expire_in is not None and not put:
        raise InvalidBody("expire_in goes with put: it is the expiry of what is written.")
    return Transaction(conditions, get, put, delete, expire_in)


def scopes_of(transaction: Transaction) -> list[str]:
    """Return the scopes that a token needs for a transaction: also to read, if it only checks or compares tags."""
    conditions, get, put, delete, _ = transaction
    compares = any(condition.compares for condition in conditions.values())
    needed = {READ: get or compares or not (put or delete), WRITE: put, DELETE: delete}
    return [scope for scope, is_needed in needed.items() if is_needed]


def _object(members: dict[str, Any], name: str) -> dict[str, Any]:
    value = members.get(name, {})
    if not isinstance(value, dict):
        raise InvalidBody(f'{name} must be an object, such as {{"key": "value"}}.')
    return value


def _list(members: dict[str, Any], name: str) -> list[str]:
    keys = members.get(name, [])
    if not isinstance(keys, list) or not set(map(type, keys)) <= {str}:
        raise InvalidBody(f'{name} must be a list of keys, such as ["key"].')
    if len(set(keys)) < len(keys):
        unique([(key, None) for key in keys], InvalidBody)
    return keys


def _condition(key: str, wanted: object) -> Condition:
    if wanted is None:
        return ABSENT
    if wanted == "*":
        return EXISTS
    tag = tag_in(wanted) if isinstance(wanted, str) else None
    if tag is None:
        raise InvalidBody(
            f'The condition for the key {quoted(key)} must be the ETag that GET gave, in its quotes, or "*" if the key '
            "must exist, or null if it must not."
        )
    return Condition(match=frozenset({tag}))
