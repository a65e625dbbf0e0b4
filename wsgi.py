"""The entry point of WSGI servers: `gunicorn wsgi:app`, or `flaskvstore.wsgi:app` where it is installed."""

import sys

from api.app import create_app
from api.startup import CANNOT_LOAD, settings_for_wsgi_server


if "gunicorn.arbiter" in sys.modules and "api.serving.gunicorn_settings" not in sys.modules:
    # It would serve with one worker of the kind `sync`, which a single idle client blocks.
    sys.stderr.write(
        "flaskvstore: Gunicorn has not read the settings of flaskvstore. Run "
        "`gunicorn -c python:flaskvstore.gunicorn_conf flaskvstore.wsgi:app`, or `gunicorn wsgi:app` in a clone.\n"
    )
    raise SystemExit(CANNOT_LOAD)

app = create_app(settings_for_wsgi_server())
