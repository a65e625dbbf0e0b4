"""The declared shapes of bodies, as Flask-RESTX models: what Swagger shows and what tests hold answers against.

Swagger 2.0 has no union, no null and no bound on the names of an object, so a value is described in words.
"""

from flask_restx import Model, SchemaModel, fields

from models.entry import MAX_KEY_BYTES


VALUE = (
    'A string, or {"base64": "..."} (RFC 4648) for a value that is not valid UTF-8, or null where values=false '
    "asked for names alone."
)


ENTRIES = SchemaModel(
    "Entries",
    {
        "type": "object",
        "description": f"One member per key: a key is 1 to {MAX_KEY_BYTES:,} bytes of UTF-8. {VALUE}",
        "additionalProperties": {"description": VALUE},
        "example": {"word": "a value", "image": {"base64": "/9j/4A=="}},
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

STORED = Model(
    "Stored", {"stored": fields.Integer(required=True, min=1, example=2, description="Pairs written.")}, strict=True
)

DELETED = Model(
    "Deleted", {"deleted": fields.Integer(required=True, min=0, example=2, description="Keys deleted.")}, strict=True
)

HEALTH = Model("Health", {"status": fields.String(required=True, enum=["ok"], example="ok")}, strict=True)

PROBLEM = Model(
    "Problem",
    {
        "type": fields.String(
            required=True,
            example="urn:flaskvstore:problem:key_not_found",
            description="A name for the kind of problem, as a URI (RFC 9457).",
        ),
        "title": fields.String(required=True, example="Key not found", description="The kind of problem in words."),
        "status": fields.Integer(required=True, min=400, max=599, example=404, description="The HTTP status."),
        "detail": fields.String(
            required=True, example='There is no key "wort".', description="What came, what was expected, what to do."
        ),
        "code": fields.String(
            required=True, pattern="^[a-z_]+$", example="key_not_found", description="Stable, for programs."
        ),
        "request_id": fields.String(required=True, description="Names the request in the log."),
        "limit": fields.Integer(description="The limit that was exceeded."),
        "actual": fields.Integer(description="What exceeded it."),
        "position": fields.Integer(description="Where in the input the fault is, counted from 0."),
    },
    strict=True,
)

MODELS = (ENTRIES, PAIRS, STORED, DELETED, HEALTH, PROBLEM)
