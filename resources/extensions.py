"""Keys in `app.extensions` and in the WSGI environ; nothing is imported here, because servers read it too."""

STORE = "flaskvstore.store"
DELETE_ALL = "flaskvstore.delete_all"
LIST_LIMITER = "flaskvstore.list_limiter"
ON_TOLD = "flaskvstore.on_told"
WATCH_LIMITER = "flaskvstore.watch_limiter"
IS_STOPPING = "flaskvstore.is_stopping"
METRICS = "flaskvstore.metrics"

# In the WSGI environ.
REQUEST_ID = "flaskvstore.request_id"
BODY_BYTES = "flaskvstore.body_bytes"
# There once the request watches: how long it takes is up to its client.
WATCHES = "flaskvstore.watches"
