"""What a call does, without doing it: requests, answers and pauses, the same for both kinds of stores.

A call is a generator of steps. A driver takes each step, blocking or not, and sends its outcome back.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from random import SystemRandom
from secrets import token_hex
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from .errors import BY_CODE, FlaskvstoreError, NotFound, OutcomeUnknown, PreconditionFailed, ServiceFault, Unavailable


T = TypeVar("T")

# How long the service may take to accept a connection.
CONNECT_SECONDS = 5.0
# How long to wait before a request is sent again, at least.
PAUSES_SECONDS = (0.1, 0.3, 1.0)
# Errors after which nothing can have reached the service.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.LocalProtocolError, httpx.PoolTimeout, httpx.ProxyError)
PROBLEM = "application/problem+json"
random = SystemRandom()


class Again(Enum):
    """When a request may be sent again."""

    ALWAYS = auto()
    """Whatever became of it: it reads, or its condition does not hold a second time."""
    IF_NOT_DONE = auto()
    """If the service says that nothing was done, or cannot have seen it."""
    NEVER = auto()
    """Part of it may be done, or its body can be read only once."""


@dataclass
class Request:
    """What is asked of the service.

    :param target: the path below the service's address, and the query
    :param content: the body; chunks of it if it is long
    :param is_stream: whether the body of the answer is left to be read in parts; then :class:`Close` has to follow
    :param silence_seconds: how long the service may say nothing; by default as long as all of it may take
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Iterator[bytes] | None = None
    again: Again = Again.IF_NOT_DONE
    is_stream: bool = False
    silence_seconds: float | None = None


@dataclass
class Send:
    """Send a request. The outcome is the answer."""

    request: Request
    request_id: str
    timeout: httpx.Timeout


@dataclass
class Read:
    """Read more of the body of an answer. The outcome is some bytes, or none at its end."""

    answer: httpx.Response


@dataclass
class Close:
    """End with an answer of which there may be more."""

    answer: httpx.Response


@dataclass
class Pause:
    """Wait."""

    seconds: float


Step: TypeAlias = Send | Read | Close | Pause
Steps: TypeAlias = Generator[Step, Any, T]


def nothing() -> Steps[None]:
    """Return no steps."""
    yield from ()


@dataclass
class Pages(Generic[T]):
    """What is asked for page after page.

    :param read: returns the steps to one page and to where the next one is; the first one is at None
    :param close: returns the steps that end it
    """

    read: Callable[[str | None], Steps[tuple[Sequence[T], str | None]]]
    close: Callable[[], Steps[None]] = nothing


def exchange(request: Request, timeout_seconds: float) -> Steps[httpx.Response]:
    """Send a request, again if that is safe, and return the answer of a success.

    :param timeout_seconds: how long all of it may take
    """
    deadline = time.monotonic() + timeout_seconds
    request_id = token_hex(8)
    pauses = iter(PAUSES_SECONDS)
    # Whether an earlier sending may be done.
    is_open = False
    while True:
        try:
            left = max(deadline - time.monotonic(), 0.001)
            timeout = httpx.Timeout(left, connect=min(left, CONNECT_SECONDS), read=request.silence_seconds or left)
            answer: httpx.Response = yield Send(request, request_id, timeout)
            if answer.status_code < HTTPStatus.BAD_REQUEST:
                return answer
            failure, is_open = failure_of(answer, request), is_open or _is_foreign(answer)
        except httpx.TransportError as error:
            failure = lost(error, request, request_id)
            failure.__cause__, is_open = error, is_open or not isinstance(error, NOT_SENT)
        if is_open and isinstance(failure, PreconditionFailed | NotFound) and request.method not in {"GET", "HEAD"}:
            raise OutcomeUnknown(
                "The answer to the first sending was lost, and the condition does not hold any more.",
                code=failure.code,
                status=failure.status,
                request_id=request_id,
                keys=failure.keys,
            )
        pause = max(next(pauses, 0.0) * random.uniform(0.5, 1.0), failure.retry_after or 0)
        if not (pause and may_repeat(request, failure)) or time.monotonic() + pause > deadline:
            raise failure
        yield Pause(pause)


def may_repeat(request: Request, failure: FlaskvstoreError) -> bool:
    """Tell whether a request that failed may be sent again."""
    if request.again is Again.NEVER or isinstance(failure, OutcomeUnknown):
        return False
    # The service says when to try again, or did not answer at all.
    return failure.retry_after is not None or (isinstance(failure, Unavailable) and not failure.code)


def failure_of(answer: httpx.Response, request: Request) -> FlaskvstoreError:
    """Return the error that an answer stands for."""
    request_id = answer.headers.get("X-Request-Id", "")
    after = answer.headers.get("Retry-After", "")
    retry_after = int(after) if after.isdecimal() else None
    if _is_foreign(answer):
        return _failure_of_a_stranger(answer, request, request_id, retry_after)
    document = answer.json() if answer.content else {}
    # HEAD has no body to say more in.
    code = document.get("code") or _code_by_status(answer.status_code)
    return BY_CODE.get(code, ServiceFault)(
        document.get("detail") or f"The service answered {answer.status_code}.",
        code=code,
        status=answer.status_code,
        request_id=request_id,
        keys=document.get("keys", ()),
        retry_after=retry_after,
        document=document,
    )


def lost(error: httpx.TransportError, request: Request, request_id: str) -> FlaskvstoreError:
    """Return the error for a request that got no answer."""
    what = str(error) or type(error).__name__
    if isinstance(error, NOT_SENT) or request.again is Again.ALWAYS:
        return Unavailable(f"The service does not answer ({what}).", request_id=request_id)
    return OutcomeUnknown(
        f"The answer was lost ({what}): the write may be done or not. Read before you repeat it.",
        request_id=request_id,
    )


def _failure_of_a_stranger(
    answer: httpx.Response, request: Request, request_id: str, retry_after: int | None
) -> FlaskvstoreError:
    """Return the error for an answer that is not the service's, but that of a proxy."""
    said = f"The answer {answer.status_code} is not of a flaskvstore: is there a proxy in front?"
    kind: type[FlaskvstoreError] = ServiceFault
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = Unavailable if request.again is Again.ALWAYS else OutcomeUnknown
    return kind(said, status=answer.status_code, request_id=request_id, retry_after=retry_after)


def _is_foreign(answer: httpx.Response) -> bool:
    is_problem = answer.headers.get("Content-Type") == PROBLEM
    return answer.status_code >= HTTPStatus.BAD_REQUEST and not is_problem


def _code_by_status(status: int) -> str:
    return {404: "key_not_found", 412: "precondition_failed"}.get(status, "")
