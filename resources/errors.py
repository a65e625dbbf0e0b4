"""What can be wrong with a request as HTTP; `models/errors.py` has what can be wrong with keys and values."""

from models.errors import RequestError, quoted


class InvalidParameter(RequestError):
    """A query parameter is unknown, given twice, or malformed."""


class FilterRequired(RequestError):
    """A deletion names no filter where one is required."""

    def __init__(self) -> None:
        super().__init__(
            "There is no filter, and FLASKVSTORE_DELETE_ALL is false: write ?filter=$ to delete all, or say which keys."
        )


class InvalidBody(RequestError):
    """A body cannot be read as pairs."""


class InvalidPairs(RequestError):
    """A write names no pair, or the same key twice."""


class InvalidEncoding(RequestError):
    """A URL or a form has malformed percent-encoding, or encodes bytes that are not UTF-8."""


class UnsupportedBody(RequestError):
    """A body has a media type that is not read here."""


class UnsupportedCoding(RequestError):
    """A body has a content coding: it is compressed."""

    def __init__(self, coding: str) -> None:
        super().__init__(f"The body's Content-Encoding is {quoted(coding)}: send it as it is, without a coding.")


class UnsupportedTransferCoding(RequestError):
    """A body has another transfer coding than chunked."""

    def __init__(self, coding: str) -> None:
        super().__init__(f"The body's Transfer-Encoding is {quoted(coding)}: only chunked is read here.")


class BodyTooLarge(RequestError):
    """A body is larger than it may be.

    :param limit: the limit in bytes
    :param actual: its size in bytes; None if it is not known, because it came in chunks
    """

    def __init__(self, limit: int, actual: int | None = None) -> None:
        size = "more bytes than that" if actual is None else f"{actual:,} bytes"
        # Above 64 bits a size is a claim that nothing here could encode.
        known = {} if actual is None or actual >= 2**63 else {"actual": actual}
        super().__init__(f"At most {limit:,} bytes are allowed: the body has {size}.", limit=limit, **known)


class BodyTimeout(RequestError):
    """A body comes too slowly."""

    def __init__(self) -> None:
        super().__init__("The body came too slowly, and is no longer waited for. Send the request again.")


class TooManyBytes(RequestError):
    """A worker holds as many bytes of bodies and of values as it may.

    :param limit: how many that are
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The requests that this worker is busy with hold {limit:,} bytes, which is the limit. Try again in a "
            "moment.",
            limit=limit,
        )


class InvalidCondition(RequestError):
    """A header that holds a condition cannot be read."""


class NotAcceptable(RequestError):
    """No representation fits the header Accept."""


class RangeNotSatisfiable(RequestError):
    """A range begins beyond the end of the value.

    :param size: the number of bytes of the value
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins beyond the end of the value, which has {size:,} bytes.", limit=size)


class MissingToken(RequestError):
    """A request for keys has no token."""

    def __init__(self) -> None:
        super().__init__("There is no token: send one in the header, as `Authorization: Bearer TOKEN`.")


class MalformedRequest(RequestError):
    """A request breaks the rules of HTTP, and its server has let it pass."""


class UnknownHost(RequestError):
    """An open service on loopback was asked under a name that is not its own."""

    def __init__(self) -> None:
        super().__init__(
            "The host in this request is not known here: a service without tokens is asked as localhost or 127.0.0.1. "
            "Name another host in FLASKVSTORE_HOSTS."
        )


class CrossSiteRequest(RequestError):
    """A web page of another site asks a service without tokens."""

    def __init__(self) -> None:
        super().__init__(
            "A web page of another site has sent this request, and a service without tokens does nothing for it. "
            "If the page may use the service, name its origin in FLASKVSTORE_CORS_ORIGINS."
        )


class RateLimited(RequestError):
    """A client has sent more requests than it may."""


class TooManyLists(RequestError):
    """A worker sends as many lists as it may, or counts or deletes meanwhile.

    :param limit: how many that are
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit:,} long lists are being sent already, counts and deletions included, which is the limit. "
            "Try again in a moment, or ask for smaller pages.",
            limit=limit,
        )


class TooManyWatchers(RequestError):
    """A worker has as many event streams and long polls as it may.

    :param limit: how many that are
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit:,} event streams and long polls are open already in this worker, which is the limit. "
            "Try again in a moment.",
            limit=limit,
        )
