"""Under which names an application keeps what its resources need; imports nothing, so that a server can read it too."""

STORE = "flaskvstore.store"
SLOTS = "flaskvstore.slots"
IS_STOPPING = "flaskvstore.is_stopping"
