"""What can go wrong, as classes: one for each way in which a caller can react."""

from collections.abc import Mapping, Sequence
from typing import Any


class FlaskvstoreError(Exception):
    """Something went wrong.

    :param detail: what came, what was expected and what to do
    :param code: the code of the service's answer; empty if there was none
    :param status: its HTTP status; 0 if there was none
    :param request_id: names the request in the service's log
    :param keys: the keys that are at fault, where that is known
    :param retry_after: the seconds after which it may be tried again, where that is known
    :param document: the problem document of the answer
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int = 0,
        request_id: str = "",
        keys: Sequence[str] = (),
        retry_after: int | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.request_id = request_id
        self.keys = list(keys)
        self.retry_after = retry_after
        self.document = dict(document or {})

    def __str__(self) -> str:
        # KeyError would show the sentence in quotation marks.
        return self.detail


class InvalidRequest(FlaskvstoreError, ValueError):
    """The service cannot do what was asked, whatever it holds."""


class TooLarge(InvalidRequest):
    """A key, a value, or all of a request is larger than the service takes."""


class CursorExpired(InvalidRequest):
    """The store was restarted or replaced during an iteration: start again."""


class NotFound(FlaskvstoreError, KeyError):
    """The key does not exist."""


class Conflict(FlaskvstoreError):
    """The key holds something else than the call needs."""


class PreconditionFailed(Conflict):
    """A condition does not hold, so nothing was done; `keys` names the keys."""


class LockTaken(Conflict):
    """Another one holds the lock."""


class LockLost(Conflict):
    """The lock expired before it was extended or released."""


class Refused(FlaskvstoreError):
    """The token is missing or wrong, lacks a scope, or the service does not answer this client."""


class RateLimited(FlaskvstoreError):
    """Too much was asked at a time; `retry_after` says when to try again."""


class Unavailable(FlaskvstoreError):
    """The service or its store cannot be reached or fails, and nothing was changed."""


class OutcomeUnknown(FlaskvstoreError):
    """The answer to a write was lost: it may be done or not. It is never repeated by itself."""


class CutOff(FlaskvstoreError):
    """An export or a file of records ended too early."""


class ServiceFault(FlaskvstoreError):
    """The service has a bug, or what answered is no flaskvstore."""


# The class for each code of the service.
BY_CODE: dict[str, type[FlaskvstoreError]] = {
    **dict.fromkeys(
        (
            *("invalid_key", "invalid_value", "invalid_expiry", "invalid_condition", "invalid_filter"),
            *("filter_required", "invalid_parameter", "invalid_body", "invalid_pairs", "invalid_encoding"),
            *("malformed_request", "keys_apart", "not_found", "method_not_allowed", "not_acceptable"),
            *("unsupported_media_type", "unsupported_content_coding", "unsupported_transfer_coding"),
            *("expectation_failed", "range_not_satisfiable"),
        ),
        InvalidRequest,
    ),
    **dict.fromkeys(
        (
            *("value_too_large", "values_too_large", "too_many_keys", "body_too_large"),
            *("uri_too_long", "fields_too_large"),
        ),
        TooLarge,
    ),
    "cursor_expired": CursorExpired,
    "key_not_found": NotFound,
    **dict.fromkeys(("not_an_integer", "wrong_type"), Conflict),
    "precondition_failed": PreconditionFailed,
    **dict.fromkeys(
        ("missing_token", "invalid_token", "insufficient_scope", "unknown_host", "cross_site"),
        Refused,
    ),
    **dict.fromkeys(("rate_limited", "too_many_bytes", "too_many_lists", "too_many_watchers"), RateLimited),
    **dict.fromkeys(
        (
            *("store_unavailable", "store_timeout", "store_saturated", "store_loading", "store_full"),
            *("store_read_only", "store_denied", "store_changed", "store_fault"),
            *("tokens_unusable", "request_timeout", "not_ready"),
        ),
        Unavailable,
    ),
    "outcome_unknown": OutcomeUnknown,
    "internal_error": ServiceFault,
}
