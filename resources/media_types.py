"""The media types of bodies."""

JSON = "application/json"
NDJSON = "application/x-ndjson"
# By all of its names; the first one is that of the documents.
NDJSON_TYPES = (NDJSON, "application/ndjson", "application/jsonl")
EVENTS = "text/event-stream"
PROBLEM = "application/problem+json"
FORM = "application/x-www-form-urlencoded"
BYTES = "application/octet-stream"
TEXT = "text/plain"
# Whatever the client calls it.
ANY = "*/*"
PATCH_TYPES = ("application/merge-patch+json", JSON)
# The bytes of a value, and how one key is shown; the first one where the client does not care.
VALUE_TYPES = (BYTES, TEXT)
ITEM_TYPES = (JSON, *VALUE_TYPES)
