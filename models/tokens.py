"""Access tokens: who may do what with the keys of which namespace.

A token is ``fkv_NAME_SECRET`` with a secret of 256 random bits. The file holds its SHA-256 and never the token itself:
a secret that nobody can guess needs no slow hash.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from models.errors import InsufficientScope, InvalidToken, TokenError, TokensUnusable, quoted


READ, WRITE, DELETE = SCOPES = ("read", "write", "delete")
# No colon, which ends a namespace in the name of a key: none of them can be the start of another.
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
SECRET_BYTES = 32
# Compared where there is no token of that name, so that the answer takes as long.
NO_DIGEST = "0" * 64
# A file that others can write lets anybody in; one that they can read shows who has access, but no token.
FORBIDDEN_MODE = 0o037
# The last second that a date can be made of, in the year 9999.
LAST_SECOND = 253_402_300_799
MEMBERS = {"name", "namespace", "scopes", "sha256", "created_at", "expires_at"}


class Token(NamedTuple):
    """What is kept of a token.

    :param name: the name in logs
    :param namespace: whose keys it sees, under plain names
    :param scopes: what it may do: ``read``, ``write``, ``delete``
    :param sha256: the digest of the token, in hexadecimal
    :param created_at: in whole seconds since 1970
    :param expires_at: the same; None for never
    """

    name: str
    namespace: str
    scopes: tuple[str, ...]
    sha256: str
    created_at: int
    expires_at: int | None

    def require(self, scopes: Collection[str]) -> None:
        """Refuse what this token may not do.

        :raises InsufficientScope: it lacks one of them
        """
        missing = [scope for scope in SCOPES if scope in scopes and scope not in self.scopes]
        if missing:
            raise InsufficientScope(self.name, missing)


class Tokens:
    """The tokens in a file, which is read again whenever it has changed.

    If it cannot be read nobody gets in: after an edit with a mistake, a token that was revoked must not go on working.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._by_name: Mapping[str, Token] = {}

    def find(self, presented: str) -> Token:
        """Return the token that a client presents.

        :raises InvalidToken: it is unknown, or has expired
        :raises TokensUnusable: the file cannot be read
        """
        token = self.by_name().get(_name_in(presented))
        is_right = hmac.compare_digest(_digest(presented), NO_DIGEST if token is None else token.sha256)
        if token is None or not is_right:
            raise InvalidToken("The token is not known here. Request a new one from whoever issued it.")
        if _has_expired(token):
            raise InvalidToken(f"The token {quoted(token.name)} has expired. Request a new one from whoever issued it.")
        return token

    def check_unchanged(self, token: Token) -> None:
        """Refuse to go on with what was begun with a token.

        :param token: what :meth:`find` has returned
        :raises InvalidToken: it was revoked or changed meanwhile, or has expired
        :raises TokensUnusable: the file cannot be read
        """
        if self.by_name().get(token.name) != token or _has_expired(token):
            raise InvalidToken(f"The token {quoted(token.name)} is no longer valid.")

    def by_name(self) -> Mapping[str, Token]:
        """Return all tokens by name, expired ones included.

        :raises TokensUnusable: the file cannot be read
        """
        try:
            if _identity(self._path.stat()) != self._seen:
                self._seen = None
                with open(self._path, "rb", opener=_without_waiting) as file:
                    status = os.fstat(file.fileno())
                    self._by_name = _parsed(status.st_mode, file)
                self._seen = _identity(status)
        except (OSError, ValueError, RecursionError) as error:
            raise TokensUnusable from error
        return self._by_name

    def create(
        self, name: str, *, namespace: str, scopes: Collection[str], expires_in_seconds: int | None = None
    ) -> str:
        """Create a token, and the file if there is none.

        :param name: a name that is not used yet
        :param namespace: whose keys it sees
        :param expires_in_seconds: None for never
        :return: the token, which is stored nowhere
        :raises TokenError: the name is taken, or is none, or the file cannot be written
        :raises TokensUnusable: the file is there and cannot be read
        """
        for what, text in (("name", name), ("namespace", namespace)):
            if not NAME.fullmatch(text):
                raise TokenError(f"The {what} {quoted(text)} is not 1 to 64 letters, digits and _ . -")
        presented = f"fkv_{name}_{secrets.token_hex(SECRET_BYTES)}"
        now = int(time.time())
        expires_at = None if expires_in_seconds is None else now + expires_in_seconds
        kept = tuple(scope for scope in SCOPES if scope in scopes)
        with self._changing() as tokens:
            if name in tokens:
                raise TokenError(f"There is a token {quoted(name)} already: choose another name, or revoke it first.")
            tokens[name] = Token(name, namespace, kept, _digest(presented), now, expires_at)
        return presented

    def revoke(self, name: str) -> None:
        """Revoke a token, at once and for good.

        :raises TokenError: there is no such token, or the file cannot be written
        :raises TokensUnusable: the file cannot be read
        """
        with self._changing() as tokens:
            if tokens.pop(name, None) is None:
                raise TokenError(f"There is no token {quoted(name)}.")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """Replace the file as a whole, one program at a time: its readers see the old one or the new one."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise TokenError(f"{self._path.parent} cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            before = self._path.stat() if self._path.exists() else None
            tokens = dict(self.by_name()) if before else {}
            yield tokens
            new = self._path.with_name(f"{self._path.name}.new")
            new.unlink(missing_ok=True)
            new.touch(mode=0o600, exist_ok=False)
            with new.open("w", encoding="ascii") as file:
                json.dump({"tokens": [token._asdict() for token in tokens.values()]}, file, indent=2)
                file.write("\n")
                if before:
                    # The service may run as another user, who reads it as a member of its group.
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), before.st_mode & 0o777)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            os.fsync(folder)
        except OSError as error:
            raise TokenError(f"{self._path} cannot be written: {error.strerror}.") from error
        finally:
            os.close(folder)


def _has_expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= time.time()


def _name_in(presented: str) -> str:
    return presented.removeprefix("fkv_").rpartition("_")[0]


def _digest(presented: str) -> str:
    return hashlib.sha256(presented.encode(errors="surrogateescape")).hexdigest()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, or a FIFO without waiting for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parsed(mode: int, file: IO[bytes]) -> dict[str, Token]:
    """Return the tokens of the file. It is read strictly: a ValueError says what is wrong."""
    if not stat.S_ISREG(mode):
        raise ValueError("it is no regular file")
    if mode & FORBIDDEN_MODE:
        raise ValueError(f"its mode is {mode & 0o777:04o}, and others must not get at it: chmod 600")
    document = json.load(file)
    if not isinstance(document, dict) or document.keys() != {"tokens"} or not isinstance(document["tokens"], list):
        raise ValueError('it is not an object with the one member "tokens", a list')
    tokens: dict[str, Token] = {}
    for number, item in enumerate(document["tokens"], 1):
        if not _is_token(item) or item["name"] in tokens:
            raise ValueError(f"its token number {number} is not as `flaskvstore token create` writes it")
        tokens[item["name"]] = Token(**{**item, "scopes": tuple(item["scopes"])})
    return tokens


def _is_token(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == MEMBERS
        and all(isinstance(item[name], str) and NAME.fullmatch(item[name]) for name in ("name", "namespace"))
        and isinstance(item["scopes"], list)
        and all(scope in SCOPES for scope in item["scopes"])
        and isinstance(item["sha256"], str)
        and re.fullmatch(r"[0-9a-f]{64}", item["sha256"]) is not None
        and _is_time(item["created_at"])
        and (item["expires_at"] is None or _is_time(item["expires_at"]))
    )


def _is_time(item: Any) -> bool:
    return type(item) is int and 0 <= item <= LAST_SECOND
