"""JSON bodies (RFC 8259), read strictly: in UTF-8, and no name twice in one object."""

import json
from typing import Any

from flask import request

from models.entry import unique
from models.errors import InvalidBody, UnsupportedBody, quoted
from resources.body import read_bytes


JSON = "application/json"


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order, a name that comes twice included."""


def is_json(*media_types: str) -> bool:
    """Tell whether the current request says that its body is JSON.

    :param media_types: what it may be called
    """
    return request.mimetype in media_types and request.mimetype_params.get("charset", "utf-8").lower() == "utf-8"


def read_object(*media_types: str) -> dict[str, Any]:
    """Read the body of the current request as an object.

    :param media_types: what it may be called
    :raises UnsupportedBody: it has another media type
    :raises InvalidBody: it is not an object, or names a member twice
    """
    if not is_json(*media_types):
        raise unsupported(*media_types)
    return unique(parse_object(read_bytes()), InvalidBody)


def unsupported(*media_types: str) -> UnsupportedBody:
    """Make the error for a body of another media type.

    :param media_types: what would be taken
    """
    given = quoted(request.headers.get("Content-Type", ""))
    return UnsupportedBody(f"The body's Content-Type is {given}: it must be {' or '.join(media_types)}, in UTF-8.")


def parse_object(text: bytes) -> Members:
    """Parse an object; the objects within it become dicts.

    :param text: JSON in UTF-8
    :raises InvalidBody: it is not an object, or an object within it names a member twice
    """
    try:
        # Not orjson, which keeps the last of two members with one name without a word.
        parsed = json.loads(text.decode(), object_pairs_hook=Members)
        if isinstance(parsed, Members):
            return Members((name, _plain(value)) for name, value in parsed)
    except UnicodeDecodeError as error:
        raise InvalidBody(f"The body is not UTF-8 at byte {error.start}.", position=error.start) from None
    except json.JSONDecodeError as error:
        raise InvalidBody(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", position=error.pos
        ) from None
    except (RecursionError, ValueError):
        raise InvalidBody("The body cannot be read: it is nested too deeply or a number is too long.") from None
    raise InvalidBody('The body must be a JSON object, such as {"key": "value"}.')


def _plain(value: Any) -> Any:
    if isinstance(value, Members):
        return {name: _plain(member) for name, member in unique(value, InvalidBody).items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
