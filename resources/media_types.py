"""The media types of bodies."""

JSON = "application/json"
NDJSON = "application/x-ndjson"
# By all of its names; the first one is that of the documents.
NDJSON_TYPES = (NDJSON, "application/ndjson", "application/jsonl")
FORM = "application/x-www-form-urlencoded"
BYTES = "application/octet-stream"
TEXT = "text/plain"
# Whatever the client calls it.
ANY = "*/*"
PATCH_TYPES = ("application/merge-patch+json", JSON)
# How one key is shown; the first one where the client does not care.
ITEM_TYPES = (JSON, BYTES, TEXT)
