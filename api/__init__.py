"""Wiring and policy: the application, its settings, errors, logs, documentation, command line and servers.

Nothing is imported here: Gunicorn's parent process reads `api.serving.gunicorn_settings`, and must not load what
gevent patches in the workers.
"""

# The root of all loggers of this program.
LOGGER = "flaskvstore"
