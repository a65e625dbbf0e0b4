"""Read by `gunicorn -c python:flaskvstore.gunicorn_conf`; in a clone it is `gunicorn.conf.py`."""

from ._server_path import prepend


prepend()

from api.serving.gunicorn_settings import *  # noqa: E402, F403
