"""The schemas of bodies, as OpenAPI 3.1 writes them: the documents show them, and tests compare answers with them.

They are Flask-RESTX models because Flask-RESTX refers to them. Swagger 2.0 can say less: `api/openapi/swagger.py` says
what is left of them there.
"""

from typing import Any

from flask_restx import SchemaModel

from models.entry import MAX_EXPIRE_IN_SECONDS, MAX_KEY_BYTES
from models.store import MAX_PAIRS
from models.tokens import SCOPES


def ref(model: SchemaModel) -> dict[str, str]:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{model.name}"}


_KEY = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES}
# Numbers without a format have 32 bits in generated clients.
_INTEGER = {"type": "integer", "format": "int64"}
_COUNT = {**_INTEGER, "minimum": 0}
_SECONDS = {"type": "integer", "minimum": 1, "maximum": MAX_EXPIRE_IN_SECONDS}
_EXPIRES_AT = {
    **_COUNT,
    "maximum": 253_402_300_799,
    "description": "When it expires, in seconds since 1970; left out if it does not.",
}
# The entity tag of either representation, as in resources/parsing/conditions.py.
_TAG_OR_ANY = r'^(\*|"[0-9a-f]{40}(-json)?")$'
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

ENCODED = SchemaModel(
    "EncodedBytes",
    {
        "type": "object",
        "description": "Bytes that are not valid UTF-8 (RFC 4648 section 4).",
        "properties": {"base64": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64}},
        "required": ["base64"],
        "additionalProperties": False,
        "examples": [{"base64": "/9j/4A=="}],
    },
)
VALUE = SchemaModel(
    "Value", {"anyOf": [{"type": "string"}, ref(ENCODED)], "description": "Text, or bytes that are not valid UTF-8."}
)
_VALUE_OR_NULL = {"anyOf": [ref(VALUE), {"type": "null"}]}


def _by_key(value: dict[str, Any], **bounds: int) -> dict[str, Any]:
    """Return the schema of an object that has a member for each key."""
    return {"type": "object", "propertyNames": _KEY, "additionalProperties": value, **bounds}


def _record(**members: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has all of some members, and no other."""
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


ENTRIES = SchemaModel(
    "Entries",
    {
        # Not by _by_key: another program may have written longer keys.
        "type": "object",
        "additionalProperties": _VALUE_OR_NULL,
        "description": "One member per key. A value is a string, or base64 if it is not valid UTF-8; null if "
        "values=false asks for the keys only.",
        "examples": [{"word": "a value"}],
    },
)

PAIRS = SchemaModel(
    "Pairs",
    {
        **_by_key(ref(VALUE), minProperties=1, maxProperties=MAX_PAIRS),
        "description": f"The pairs to store: one member per key, which is 1 to {MAX_KEY_BYTES:,} bytes of UTF-8.",
        "examples": [{"word": "a value", "world": "another value"}],
    },
)
TEXT_PAIRS = SchemaModel(
    "TextPairs",
    {
        **_by_key({"type": "string"}, maxProperties=MAX_PAIRS),
        "description": "Pairs in a query string or in a form, where every value is text.",
        "examples": [{"word": "a value", "world": "another value"}],
    },
)

_KEY_OF_A_RECORD = {**ref(VALUE), "description": "Bytes that are not UTF-8 are those of another program."}
RECORD = SchemaModel(
    "Record",
    {
        "type": "object",
        "description": "A line of an export or import.",
        "properties": {
            "key": _KEY_OF_A_RECORD,
            "value": ref(VALUE),
            "expires_at": _EXPIRES_AT,
        },
        "required": ["key", "value"],
        "additionalProperties": False,
        "examples": [{"key": "word", "value": "a value"}],
    },
)
SIZED_RECORD = SchemaModel(
    "SizedRecord",
    {
        "type": "object",
        "description": "A line of an export with values=false; an import takes none.",
        "properties": {
            "key": _KEY_OF_A_RECORD,
            "value_bytes": {**_COUNT, "description": "The number of bytes of the value."},
            "expires_at": _EXPIRES_AT,
        },
        "required": ["key", "value_bytes"],
        "additionalProperties": False,
        "examples": [{"key": "word", "value_bytes": 7}],
    },
)
END = SchemaModel(
    "End", {**_record(count=_COUNT), "description": "The last line of an export: how many lines there were before it."}
)
RECORDS = SchemaModel(
    "Records",
    {
        "type": "string",
        "description": "Records, one a line.",
        "contentMediaType": "application/x-ndjson",
        "contentSchema": {"anyOf": [ref(RECORD), ref(END)]},
        "examples": ['{"key": "word", "value": "a value"}\n{"key": "world", "value": "another value"}\n'],
    },
)
LISTED_RECORDS = SchemaModel(
    "ListedRecords",
    {**RECORDS.__schema__, "contentSchema": {"anyOf": [ref(RECORD), ref(SIZED_RECORD), ref(END)]}},
)

# Without a type: some tools compare the text with it, and others each event.
EVENT_TEXT = {
    "description": "Events (https://html.spec.whatwg.org/multipage/server-sent-events.html): `reset`, a `put` for each "
    "key, and `synced`; after that a `put`, `delete` or `expire` for each change. The data of a `put` is a record with "
    "an `etag`.",
    "examples": ['id: 38601f2d-661163e8b1558\nevent: expire\ndata: {"key":"word"}\n\n'],
}
TEXT_OF_A_VALUE = {"type": "string", "examples": ["a value"]}
BYTES_OF_A_VALUE = SchemaModel("Bytes", {"type": "string", "format": "binary", "description": "The bytes of a value."})

WRONG_LINE = SchemaModel("WrongLine", _record(line={**_COUNT, "minimum": 1}, detail={"type": "string"}))

STORED = SchemaModel(
    "Stored",
    {
        "type": "object",
        "properties": {
            "stored": {**_COUNT, "description": "The number of pairs that were written."},
            "skipped": {**_COUNT, "description": "Import only: the number of records that had expired already."},
            "failed": {**_COUNT, "description": "Import only: the number of wrong lines."},
            "errors": {
                "type": "array",
                "maxItems": 100,
                "description": "Import only: the first 100 wrong lines; line numbers start at 1.",
                "items": ref(WRONG_LINE),
            },
        },
        "required": ["stored"],
        "additionalProperties": False,
        "examples": [{"stored": 2}],
    },
)

OUTCOME = SchemaModel(
    "Outcome",
    {
        **_record(
            values={
                **_by_key(_VALUE_OR_NULL, maxProperties=1_000),
                "description": "The keys in `get`, and what they had; null if the key did not exist.",
            },
            stored={**_COUNT, "description": "The number of keys that were written."},
            deleted={**_COUNT, "description": "The number of keys that were deleted."},
        ),
        "examples": [{"values": {"a": "1", "b": None}, "stored": 1, "deleted": 0}],
    },
)

TRANSACTION = SchemaModel(
    "Transaction",
    {
        "type": "object",
        "properties": {
            "if": {
                **_by_key({"type": ["string", "null"], "pattern": _TAG_OR_ANY}, maxProperties=1_000),
                "description": 'A condition for each key: the ETag that its value must have, "*" if the key must '
                "exist, or null if it must not.",
            },
            "get": {"type": "array", "items": _KEY, "uniqueItems": True, "maxItems": 1_000},
            "put": _by_key(ref(VALUE), maxProperties=1_000),
            "delete": {"type": "array", "items": _KEY, "uniqueItems": True, "maxItems": 1_000},
            "expire_in": _SECONDS,
        },
        "minProperties": 1,
        "additionalProperties": False,
        "examples": [{"get": ["word"], "put": {"visits": "1"}, "expire_in": 3600}],
    },
)

CHANGE = SchemaModel(
    "Change",
    {
        "type": "object",
        "description": "One of increment, append and expire_in. With increment or append, expire_in and keep_expiry "
        "are optional.",
        "properties": {
            "increment": {**_INTEGER, "minimum": -(2**63), "maximum": 2**63 - 1},
            "append": ref(VALUE),
            "expire_in": {
                **_SECONDS,
                "type": ["integer", "null"],
                "description": "Seconds until the key expires; null removes the expiry.",
            },
            "keep_expiry": {"type": "boolean", "description": "Set expire_in only if the key has no expiry."},
        },
        "minProperties": 1,
        "additionalProperties": False,
        "examples": [{"append": ", and more"}, {"increment": 1}, {"expire_in": 3600}],
    },
)

DELETED = SchemaModel(
    "Deleted",
    {
        **_record(deleted={**_COUNT, "description": "The number of keys that were deleted."}),
        "examples": [{"deleted": 2}],
    },
)

TOKEN = SchemaModel(
    "Token",
    {
        "type": "object",
        "properties": {
            "required": {"type": "boolean", "description": "Whether requests for keys need a token."},
            "name": {"type": "string", "description": "Its name; left out if none is needed, as the namespace is."},
            "namespace": {"type": "string", "description": "The namespace whose keys it sees."},
            "scopes": {
                "type": "array",
                "description": "What may be done.",
                "items": {"type": "string", "enum": list(SCOPES)},
                "maxItems": len(SCOPES),
            },
            "expires_at": _EXPIRES_AT,
        },
        "required": ["required", "scopes"],
        "additionalProperties": False,
        "examples": [{"required": True, "name": "shop", "namespace": "shop", "scopes": ["read", "write"]}],
    },
)

HEALTH = SchemaModel("Health", {**_record(status={"type": "string", "enum": ["ok"]}), "examples": [{"status": "ok"}]})

PROBLEM = SchemaModel(
    "Problem",
    {
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "Names the type of the error (RFC 9457)."},
            "title": {"type": "string", "description": "The type of the error in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What came, what was expected, what to do."},
            "code": {
                "type": "string",
                "pattern": "^[a-z_]+$",
                "description": "A stable name of the error, for programs.",
            },
            "request_id": {"type": "string", "description": "The id of the request, which is also in the log."},
            "limit": {**_INTEGER, "description": "The limit that was exceeded."},
            "actual": {**_INTEGER, "description": "The number that exceeded it."},
            "position": {**_COUNT, "description": "The position of the error in the input, counted from 0."},
            "keys": {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": 1_000,
                "description": "The keys whose condition failed, 1,000 at most.",
            },
            "scopes": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The scopes that the token lacks.",
            },
        },
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "additionalProperties": False,
    },
)

MODELS = (
    *(
        ENTRIES,
        PAIRS,
        TEXT_PAIRS,
        VALUE,
        ENCODED,
        RECORDS,
        LISTED_RECORDS,
        BYTES_OF_A_VALUE,
        RECORD,
        SIZED_RECORD,
        END,
        CHANGE,
        TRANSACTION,
        OUTCOME,
        STORED,
        WRONG_LINE,
        DELETED,
    ),
    *(TOKEN, HEALTH, PROBLEM),
)
