"""The declared shapes of bodies, as Flask-RESTX models: what Swagger shows and what tests hold answers against.

Swagger 2.0 has no union, no null and no bound on the names of an object, so a value is described in words.
"""

from flask_restx import Model, SchemaModel, fields

from models.entry import MAX_EXPIRE_IN_SECONDS, MAX_KEY_BYTES


VALUE = (
    'A string, or {"base64": "..."} (RFC 4648) for a value that is not valid UTF-8, or null where values=false '
    "asked for names alone."
)


_KEY = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES}
_SECONDS = {"type": "integer", "minimum": 1, "maximum": MAX_EXPIRE_IN_SECONDS}
# Of either representation, as resources/parsing/conditions.py makes them.
_TAG_OR_ANY = r'^(\*|"[0-9a-f]{40}(-json)?")$'

ENTRIES = SchemaModel(
    "Entries",
    {
        "type": "object",
        "description": f"One member per key: a key is 1 to {MAX_KEY_BYTES:,} bytes of UTF-8. {VALUE}",
        "additionalProperties": {"description": VALUE},
        "example": {"word": "a value"},
    },
)

PAIRS = SchemaModel(
    "Pairs",
    {
        "type": "object",
        "description": f"What to store: one member per key, a key being 1 to {MAX_KEY_BYTES:,} bytes of UTF-8. A value "
        'is a string, or {"base64": "..."} for bytes that are not UTF-8, which Swagger 2.0 cannot declare.',
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
            "stored": {"type": "integer", "minimum": 0, "description": "Pairs written."},
            "skipped": {
                "type": "integer",
                "minimum": 0,
                "description": "Of an import: records that have expired meanwhile.",
            },
            "failed": {"type": "integer", "minimum": 0, "description": "Of an import: lines that are wrong."},
            "errors": {
                "type": "array",
                "maxItems": 100,
                "description": "Of an import: the first lines that are wrong, counted from 1.",
                "items": {
                    "type": "object",
                    "properties": {"line": {"type": "integer", "minimum": 1}, "detail": {"type": "string"}},
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
                "description": "The keys that were to be read. A value is null if there was none.",
                "additionalProperties": {"description": VALUE},
            },
            "stored": {"type": "integer", "minimum": 0, "description": "Keys written."},
            "deleted": {"type": "integer", "minimum": 0, "description": "Keys deleted."},
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
                "description": 'For each key the ETag of the value it must have, "*" if it must exist, null if not.',
                "additionalProperties": {"type": "string", "pattern": _TAG_OR_ANY, "x-nullable": True},
            },
            "get": {"type": "array", "items": _KEY, "uniqueItems": True, "maxItems": 1000},
            "put": {"type": "object", "additionalProperties": {"type": "string"}},
            "delete": {"type": "array", "items": _KEY, "uniqueItems": True, "maxItems": 1000},
            "expire_in": _SECONDS,
        },
        "minProperties": 1,
        "additionalProperties": False,
        "example": {"if": {"lock": None}, "get": ["counter"], "put": {"lock": "mine"}, "expire_in": 30},
    },
)

CHANGE = SchemaModel(
    "Change",
    {
        "type": "object",
        "description": "One of increment, append and expire_in; the first two may add expire_in and keep_expiry.",
        "properties": {
            "increment": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
            "append": {"type": "string", "description": 'Text, or {"base64": "..."} for other bytes.'},
            "expire_in": {**_SECONDS, "x-nullable": True, "description": "Seconds; null removes an expiry."},
            "keep_expiry": {"type": "boolean", "description": "Set expire_in only if the key has no expiry."},
        },
        "minProperties": 1,
        "additionalProperties": False,
        "example": {"increment": 1},
    },
)

DELETED = Model(
    "Deleted", {"deleted": fields.Integer(required=True, min=0, example=2, description="Keys deleted.")}, strict=True
)

HEALTH = Model("Health", {"status": fields.String(required=True, enum=["ok"], example="ok")}, strict=True)

PROBLEM = Model(
    "Problem",
    {
        "type": fields.String(required=True, description="A name for the kind of problem, as a URI (RFC 9457)."),
        "title": fields.String(required=True, description="The kind of problem in words."),
        "status": fields.Integer(required=True, min=400, max=599, description="The HTTP status."),
        "detail": fields.String(required=True, description="What came, what was expected, what to do."),
        "code": fields.String(required=True, pattern="^[a-z_]+$", description="Stable, for programs."),
        "request_id": fields.String(required=True, description="Names the request in the log."),
        "limit": fields.Integer(description="The limit that was exceeded."),
        "actual": fields.Integer(description="What exceeded it."),
        "position": fields.Integer(description="Where in the input the fault is, counted from 0."),
        "keys": fields.List(fields.String, description="The keys whose condition does not hold, up to 1,000 of them."),
        "scopes": fields.List(fields.String, description="What the token lacks."),
    },
    strict=True,
)

MODELS = (ENTRIES, PAIRS, CHANGE, TRANSACTION, OUTCOME, STORED, DELETED, HEALTH, PROBLEM)
