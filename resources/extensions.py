"""Under which names an application and a request keep what others need; it imports nothing: servers read it too."""

STORE = "flaskvstore.store"
STREAM_LIMITER = "flaskvstore.stream_limiter"
IS_STOPPING = "flaskvstore.is_stopping"
METRICS = "flaskvstore.metrics"

# In the environment of a request.
REQUEST_ID = "flaskvstore.request_id"
