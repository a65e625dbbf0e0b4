"""The URLs of stores: one server, a service behind Sentinels, or a cluster."""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from models.address import MAX_PORT, Address


REDIS_PORT = 6379
SENTINEL_PORT = 26379
ENCODED = "in a user name or password # / ? @ are written %23 %2F %3F %40"
FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss://..., unix:/PATH/TO/SOCKET[?db=DATABASE], "
    "redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../SERVICE[/DATABASE] or "
    "redis+cluster://[USER:PASSWORD@]HOST[:PORT],..., or the same with valkey in the place of redis; " + ENCODED
)
TLS_FOLDER = "ssl_ca_path"
TLS_FILES = ("ssl_ca_certs", TLS_FOLDER, "ssl_certfile", "ssl_keyfile")
TLS_CHOICES = {"ssl_cert_reqs": ("none", "optional", "required"), "ssl_check_hostname": ("true", "false")}
TLS_OPTIONS = {*TLS_FILES, *TLS_CHOICES}
SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_HOST = re.compile(r"(?P<host>[^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


class WrongUrl(ValueError):
    """A URL cannot be that of a store; the text says what it must be, and repeats nothing that may be a password."""


class StoreUrl(NamedTuple):
    """A URL of a store, taken apart.

    See https://www.iana.org/assignments/uri-schemes/prov/redis for the form that all of them extend.

    :param text: the URL in the form that redis-py takes, if it is that of one server
    :param kind: ``cluster``, ``sentinel``, or nothing for one server
    :param user: user and password as they are written, with the ``@``
    :param hosts: where to ask first; empty for a unix socket
    :param service: the name that Sentinels know it by
    :param database: its number
    """

    text: str
    kind: str
    user: str
    hosts: tuple[Address, ...]
    service: str
    database: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parts of a URL.

        :raises WrongUrl: it is none of the forms
        """
        try:
            return cls._parse(text.strip())
        except WrongUrl:
            raise
        except ValueError:
            raise WrongUrl(FORMS) from None

    @classmethod
    def _parse(cls, text: str) -> Self:
        text = _as_redis(text)
        url = urlsplit(text)
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        user, at, hosts = url.netloc.rpartition("@")
        service, database, allowed = "", url.path[1:], {"db"}
        match url.scheme:
            case "unix":
                is_right, database = not hosts and url.path.startswith("/"), ""
            case "redis":
                is_right = "," not in hosts
            case "rediss":
                is_right, allowed = "," not in hosts, {"db"} | TLS_OPTIONS
            case "redis+sentinel":
                service, _, database = database.partition("/")
                is_right, allowed = bool(service), {"db"} | SENTINEL_OPTIONS
            case "redis+cluster":
                is_right, allowed = not database, set()
            case _:
                is_right = False
        # What stands before an @ may be the rest of a password.
        if not is_right or "@" in url.path + url.query:
            raise ValueError
        options = _checked(url.scheme, [*pairs, ("db", database)] if database else pairs, allowed)
        port = SENTINEL_PORT if url.scheme == "redis+sentinel" else REDIS_PORT
        addresses = () if url.scheme == "unix" else tuple(_address(host, port) for host in hosts.split(","))
        kind, database = url.scheme.partition("+")[2], options.get("db", "0")
        return cls(text, kind, user + at, addresses, unquote(service), database, options)

    def of_server(self, address: Address) -> str:
        """Return the URL of one of the servers."""
        return f"redis://{self.user}{address}/{self.database}"

    def of_discovery(self, address: Address) -> str:
        """Return the URL of a server that is only asked where others are: a node of the cluster, or a Sentinel."""
        if self.kind == "cluster":
            return self.of_server(address)
        user = quote(self.options.get("sentinel_username", ""), safe="")
        password = quote(self.options.get("sentinel_password", ""), safe="")
        return f"redis://{user}:{password}@{address}" if password else f"redis://{address}"


def _as_redis(text: str) -> str:
    """Return a URL with the scheme that redis-py knows, and ``unix:/path`` with two slashes more."""
    if "#" in text:
        raise WrongUrl(f"a URL without #: {ENCODED}")
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower().replace("valkey", "redis", 1)
    return f"unix://{rest}" if scheme == "unix" and not rest.startswith("//") else f"{scheme}:{rest}"


def _checked(scheme: str, pairs: Sequence[tuple[str, str]], allowed: AbstractSet[str]) -> dict[str, str]:
    """Return the options of a URL.

    :raises WrongUrl: one of them is not allowed, is there twice, or has a bad value
    """
    options = dict(pairs)
    if len(options) < len(pairs):
        raise WrongUrl("a URL that says each thing once")
    for name, value in options.items():
        if name not in allowed:
            raise WrongUrl(f"a URL without the option {name!r}: {scheme} takes {', '.join(sorted(allowed)) or 'none'}")
        if value not in TLS_CHOICES.get(name, (value,)):
            raise WrongUrl(f"a URL in which {name} is one of {', '.join(TLS_CHOICES[name])}")
        if name in TLS_FILES and not value.startswith("/"):
            raise WrongUrl(f"a URL in which {name} is an absolute path")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise WrongUrl("a URL in which ssl_keyfile comes with ssl_certfile")
    if not re.fullmatch("[0-9]{1,5}", options.get("db", "0")):
        raise WrongUrl("a URL whose database is a number")
    return options


def _address(text: str, default_port: int) -> Address:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or default_port) if found else 0
    if not found or not 0 < port <= MAX_PORT:
        raise ValueError
    return Address(found["host"].strip("[]"), port)
