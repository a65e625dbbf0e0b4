"""The entry point of WSGI servers: `gunicorn wsgi:app`."""

from api.app import create_app
from api.settings import Settings


app = create_app(Settings.for_wsgi_server())
