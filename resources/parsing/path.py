"""The path of a request, which ends with a key in any characters."""

from urllib.parse import quote

from flask.globals import request_ctx
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from resources.errors import InvalidEncoding
from resources.parsing.urlencoded import check_encoding


# The end of a route, as `api/app.py` names the converter.
ANY_KEY = "<key:key>"


class KeyConverter(BaseConverter):
    """The rest of a path, whatever is in it: a key may hold slashes and line breaks."""

    regex = r"[\s\S]+"
    part_isolating = False


def check_path() -> None:
    """Refuse a path that cannot be decoded: Werkzeug would replace bytes that are not UTF-8 without an error.

    :raises NotFound: it starts with two slashes
    :raises InvalidEncoding: it has a fragment, or its percent-encoding is malformed or not UTF-8
    """
    environ = request_ctx.request.environ
    if environ["PATH_INFO"].startswith("//"):
        # Werkzeug would take it for /keys.
        raise NotFound
    # As the client wrote it, if the server passes that on; else encoded again from what the server has decoded.
    target = environ.get("RAW_URI") or quote(environ["PATH_INFO"], encoding="latin-1")
    if "#" in target or "#" in environ["QUERY_STRING"]:
        raise InvalidEncoding("The URL has a raw #, which starts a fragment that is never sent: write %23 for it.")
    check_encoding(target.partition("?")[0].encode("latin-1"))
