"""The body of `PATCH /keys/{key}`: a change of the value or of its expiry."""

from typing import Any

from models.change import Change, Expiry
from models.entry import check_expire_in, value_from_json
from resources.errors import InvalidBody
from resources.media_types import PATCH_TYPES
from resources.parsing.json_body import read_object


MAX_INCREMENT = 2**63 - 1


def read_patch(key: str) -> Change:
    """Return the change that the body of the current request describes.

    :param key: named in errors
    :raises InvalidBody: it is not one change
    :raises InvalidExpiry: ``expire_in`` is not an expiry
    :raises UnsupportedBody: the body has another media type
    """
    members = read_object(*PATCH_TYPES)
    expiry = _expiry(members)
    keep = members.pop("keep_expiry", False)
    if not isinstance(keep, bool):
        raise InvalidBody("keep_expiry must be true or false.")
    if keep and not isinstance(expiry, int):
        raise InvalidBody("keep_expiry goes with an expire_in in seconds.")
    match list(members.items()):
        case [("increment", number)]:
            return Change(increment=_increment(number), expiry=expiry, keep_expiry=keep)
        case [("append", text)]:
            return Change(append=value_from_json(key, text), expiry=expiry, keep_expiry=keep)
        case [] if expiry is not Expiry.UNCHANGED and not keep:
            return Change(expiry=expiry)
    raise InvalidBody(
        'The body must be one of {"expire_in": 60}, {"expire_in": null}, {"increment": 5} and {"append": "text"}; '
        'the last two may add "expire_in", and with it "keep_expiry".'
    )


def _expiry(members: dict[str, Any]) -> int | Expiry:
    if "expire_in" not in members:
        return Expiry.UNCHANGED
    expire_in = members.pop("expire_in")
    return Expiry.NEVER if expire_in is None else check_expire_in(expire_in)


def _increment(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not -MAX_INCREMENT - 1 <= number <= MAX_INCREMENT:
        raise InvalidBody("increment must be a whole number of 64 bits.")
    return number
