"""The HTTP verbs: what `/keys`, `/keys/{key}` and `/health` do."""
