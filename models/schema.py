"""The schemas of bodies, as Flask-RESTX models: Swagger shows them, and tests compare answers with them.

Swagger 2.0 has no union, no null and no limit on the names of an object, so a value is described in words. It is
``"additionalProperties": True`` and not a schema without a type, which generators of clients read as an object.
"""

from flask_restx import Model, SchemaModel, fields

from models.entry import MAX_EXPIRE_IN_SECONDS, MAX_KEY_BYTES


class LongInteger(fields.Integer):
    """A number that may exceed 32 bits, which generated clients assume if no format is named."""

    __schema_format__ = "int64"


VALUE = 'A value is a string; {"base64": "..."} (RFC 4648) if it is not valid UTF-8;'


_KEY = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES}
_COUNT = {"type": "integer", "format": "int64", "minimum": 0}
_SECONDS = {"type": "integer", "minimum": 1, "maximum": MAX_EXPIRE_IN_SECONDS}
# The entity tag of either representation, as in resources/parsing/conditions.py.
_TAG_OR_ANY = r'^(\*|"[0-9a-f]{40}(-json)?")$'

ENTRIES = SchemaModel(
    "Entries",
    {
        "type": "object",
        "description": f"One member per key, which is 1 to {MAX_KEY_BYTES:,} bytes of UTF-8. "
        f"{VALUE} null if there is none, or if values=false asks for the keys only.",
        "additionalProperties": True,
        "example": {"word": "a value"},
    },
)

PAIRS = SchemaModel(
    "Pairs",
    {
        "type": "object",
        "description": f"The pairs to store: one member per key, which is 1 to {MAX_KEY_BYTES:,} bytes of UTF-8. "
        'A value is a string, or {"base64": "..."} for bytes that are not UTF-8 (Swagger 2.0 cannot declare both).',
        "additionalProperties": {"type": "string"},
        "minProperties": 1,
        "example": {"word": "a value", "world": "another value"},
    },
)

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
                "items": {
                    "type": "object",
                    "properties": {"line": {**_COUNT, "minimum": 1}, "detail": {"type": "string"}},
                    "required": ["line", "detail"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["stored"],
        "additionalProperties": False,
        "example": {"stored": 2},
    },
)

OUTCOME = SchemaModel(
    "Outcome",
    {
        "type": "object",
        "properties": {
            "values": {
                "type": "object",
                "description": f"The keys in `get`. {VALUE} null if the key does not exist.",
                "additionalProperties": True,
            },
            "stored": {**_COUNT, "description": "The number of keys that were written."},
            "deleted": {**_COUNT, "description": "The number of keys that were deleted."},
        },
        "required": ["values", "stored", "deleted"],
        "additionalProperties": False,
        "example": {"values": {"a": "1", "b": None}, "stored": 1, "deleted": 0},
    },
)

TRANSACTION = SchemaModel(
    "Transaction",
    {
        "type": "object",
        "properties": {
            "if": {
                "type": "object",
                "description": 'A condition for each key: the ETag that its value must have, "*" if the key must '
                "exist, or null if it must not.",
                "additionalProperties": {"type": "string", "pattern": _TAG_OR_ANY, "x-nullable": True},
            },
            "get": {"type": "array", "items": _KEY, "uniqueItems": True, "maxItems": 1000},
            "put": {"type": "object", "additionalProperties": {"type": "string"}},
            "delete": {"type": "array", "items": _KEY, "uniqueItems": True, "maxItems": 1000},
            "expire_in": _SECONDS,
        },
        "minProperties": 1,
        "additionalProperties": False,
        # Without null, which is no string for tools that know no x-nullable.
        "example": {"if": {"word": "*"}, "get": ["word"], "put": {"world": "another value"}, "expire_in": 30},
    },
)

CHANGE = SchemaModel(
    "Change",
    {
        "type": "object",
        "description": "One of increment, append and expire_in. With increment or append, expire_in and keep_expiry "
        "are optional.",
        "properties": {
            "increment": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
            "append": {"type": "string", "description": 'A string, or {"base64": "..."} for bytes that are not UTF-8.'},
            "expire_in": {
                **_SECONDS,
                "x-nullable": True,
                "description": "Seconds until the key expires; null removes the expiry.",
            },
            "keep_expiry": {"type": "boolean", "description": "Set expire_in only if the key has no expiry."},
        },
        "minProperties": 1,
        "additionalProperties": False,
        "example": {"increment": 1},
    },
)

DELETED = Model(
    "Deleted",
    {"deleted": LongInteger(required=True, min=0, example=2, description="The number of keys that were deleted.")},
    strict=True,
)

HEALTH = Model("Health", {"status": fields.String(required=True, enum=["ok"], example="ok")}, strict=True)

PROBLEM = Model(
    "Problem",
    {
        "type": fields.String(required=True, description="A URI that names the type of the error (RFC 9457)."),
        "title": fields.String(required=True, description="The type of the error in words."),
        "status": fields.Integer(required=True, min=400, max=599, description="The HTTP status."),
        "detail": fields.String(required=True, description="What came, what was expected, what to do."),
        "code": fields.String(
            required=True, pattern="^[a-z_]+$", description="A stable name of the error, for programs."
        ),
        "request_id": fields.String(required=True, description="The id of the request, which is also in the log."),
        "limit": LongInteger(description="The limit that was exceeded."),
        "actual": LongInteger(description="The number that exceeded it."),
        "position": LongInteger(description="The position of the error in the input, counted from 0."),
        "keys": fields.List(fields.String, description="The keys whose condition failed, 1,000 at most."),
        "scopes": fields.List(fields.String, description="The scopes that the token lacks."),
    },
    strict=True,
)

MODELS = (ENTRIES, PAIRS, CHANGE, TRANSACTION, OUTCOME, STORED, DELETED, HEALTH, PROBLEM)
