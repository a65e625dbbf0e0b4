"""All that `from flaskvstore import ...` offers."""

from .errors import (
    Conflict,
    CursorExpired,
    CutOff,
    FlaskvstoreError,
    InvalidRequest,
    LockLost,
    LockTaken,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    RateLimited,
    Refused,
    ServiceFault,
    TooLarge,
    Unavailable,
)
from .files import Imported
from .stores import AsyncLock, AsyncStore, Lock, Store
from .transactions import Transaction
from .values import Entry, Record, Value, escape
from .watching import Change


__all__ = [
    "AsyncLock",
    "AsyncStore",
    "Change",
    "Conflict",
    "CursorExpired",
    "CutOff",
    "Entry",
    "FlaskvstoreError",
    "Imported",
    "InvalidRequest",
    "Lock",
    "LockLost",
    "LockTaken",
    "NotFound",
    "OutcomeUnknown",
    "PreconditionFailed",
    "RateLimited",
    "Record",
    "Refused",
    "ServiceFault",
    "Store",
    "TooLarge",
    "Transaction",
    "Unavailable",
    "Value",
    "escape",
]
