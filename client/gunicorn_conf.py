"""Read by `gunicorn -c python:flaskvstore.gunicorn_conf`; in a clone it is `gunicorn.conf.py`."""

from . import _server_path


_server_path.prepend()

from api.serving.gunicorn_settings import *  # noqa: E402, F403
