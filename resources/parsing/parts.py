"""The parts of a request that no operation reads by itself. `docs/requests.md` has the table of all parts.

Whatever would make a request mean something else than what is done is refused; the rest is harmless.
"""

from collections.abc import Sequence

from flask.globals import request_ctx

from resources.errors import InvalidBody, InvalidCondition, UnsupportedCoding, UnsupportedTransferCoding
from resources.parsing.body import read_chunks


SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


def check_parts(bodies: Sequence[str]) -> None:
    """Refuse the parts of the current request that are not read.

    :param bodies: the media types of the bodies that its operation takes
    :raises InvalidBody: there is a body where none is taken, or only a part of one
    :raises InvalidCondition: a write has a condition that is not checked
    :raises UnsupportedCoding: the body is compressed
    :raises UnsupportedTransferCoding: the body has another transfer coding than chunked
    """
    request = request_ctx.request
    environ = request.environ
    if "HTTP_IF_UNMODIFIED_SINCE" in environ and request.method not in SAFE_METHODS:
        raise InvalidCondition("If-Unmodified-Since is not checked: values have no dates. Use If-Match with an ETag.")
    if not bodies:
        if ("HTTP_TRANSFER_ENCODING" in environ or "CONTENT_LENGTH" in environ) and any(read_chunks()):
            raise InvalidBody(
                f"{request.method} takes no body here, and one came. What it is about belongs into the URL; "
                "a filter is written ?filter=tmp:$."
            )
        return
    transfer_coding = environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip()
    if transfer_coding.lower() != "chunked":
        raise UnsupportedTransferCoding(transfer_coding)
    coding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip()
    if coding.lower() != "identity":
        raise UnsupportedCoding(coding)
    if "HTTP_CONTENT_RANGE" in environ:
        raise InvalidBody("The body has a Content-Range, but a value is always stored whole (RFC 9110 section 14.4).")
