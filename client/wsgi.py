"""The entry point of WSGI servers where flaskvstore is installed; in a clone it is `wsgi.py` at the top."""

from ._server_path import prepend


prepend()

from wsgi import app  # noqa: E402, F401
