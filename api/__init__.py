"""Wiring and policy: the application, its settings, errors, logs, documentation, command line and server.

Nothing is imported here: Gunicorn's parent process reads `api.gunicorn_settings`, and must not load what gevent has
to patch first in the workers.
"""
