"""Gunicorn's settings for `gunicorn wsgi:app` in this folder, from where an installed flaskvstore has them too."""

from api.serving.gunicorn_settings import *  # noqa: F403
