"""The processes: supervisor, WSGI servers and the embedded Valkey."""
