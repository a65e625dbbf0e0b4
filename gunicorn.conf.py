"""Read by `gunicorn wsgi:app` in this folder; the settings live where an installed flaskvstore has them too."""

from api.serving.gunicorn_settings import *  # noqa: F403
