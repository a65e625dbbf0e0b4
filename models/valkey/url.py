"""The URLs of stores: one server, a service behind Sentinels, or a cluster."""

import re
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from models.address import MAX_PORT, Address


REDIS_PORT = 6379
SENTINEL_PORT = 26379
FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss://..., unix:///PATH/TO/SOCKET[?db=DATABASE], "
    "redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../SERVICE[/DATABASE] or "
    "redis+cluster://[USER:PASSWORD@]HOST[:PORT],..."
)
TLS_OPTIONS = {"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
_HOST = re.compile(r"(?P<host>[^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


class StoreUrl(NamedTuple):
    """A URL of a store, taken apart.

    See https://www.iana.org/assignments/uri-schemes/prov/redis for the form that all of them extend.

    :param kind: ``cluster``, ``sentinel``, or nothing for one server
    :param user: user and password as they are written, with the ``@``
    :param hosts: where to ask first; empty for a unix socket
    :param service: the name that Sentinels know it by
    :param database: its number
    :param options: the query
    """

    kind: str
    user: str
    hosts: tuple[Address, ...]
    service: str
    database: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the parts of a URL.

        :raises ValueError: it is none of the forms; the text, which may hold a password, is not repeated
        """
        try:
            return cls._parse(text)
        except ValueError:
            raise ValueError(FORMS) from None

    @classmethod
    def _parse(cls, text: str) -> Self:
        url = urlsplit(text)
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
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
        database = database or options.get("db", "0")
        if not is_right or not options.keys() <= allowed or not re.fullmatch("[0-9]{1,5}", database):
            raise ValueError
        port = SENTINEL_PORT if url.scheme == "redis+sentinel" else REDIS_PORT
        addresses = () if url.scheme == "unix" else tuple(_address(host, port) for host in hosts.split(","))
        return cls(url.scheme.partition("+")[2], user + at, addresses, unquote(service), database, options)

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


def _address(text: str, default_port: int) -> Address:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or default_port) if found else 0
    if not found or not 0 < port <= MAX_PORT:
        raise ValueError
    return Address(found["host"].strip("[]"), port)
