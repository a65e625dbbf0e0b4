"""Every setting: one field each, with its type, default, unit and meaning; the README's table is held against it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from api.parsers import (
    OneOf,
    Rate,
    address,
    bind_address,
    hosts,
    metric_prefix,
    origins,
    path,
    rate,
    redis_url,
    seconds,
    status,
    text,
    whole_number,
    yes_or_no,
)
from models.address import Address, UnixAddress
from models.errors import FlaskvstoreError


PREFIX = "FLASKVSTORE_"
OF_THE_CLIENT = {"FLASKVSTORE_URL", "FLASKVSTORE_TOKEN"}
# Kubernetes sets these for each Service whose name starts with "flaskvstore":
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
OF_KUBERNETES = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)=.*"
    r"|(?:\w+_)?PORT=(?:tcp|udp|sctp)://.*"
)


class StartError(FlaskvstoreError):
    """The program cannot start with these settings on this machine.

    :param problem: what is wrong
    :param setting: the field of :class:`Settings` that is at fault, if one is; its name is put before the problem
    """

    def __init__(self, problem: str, *, setting: str = "") -> None:
        super().__init__(f"{variable_name(setting)} {problem}" if setting else problem)
        self.problem = problem
        self.setting = setting


def setting(
    meaning: str, default: Any, parse: Callable[[str], Any], unit: str = "", *, option: str | None = None
) -> Any:
    """Declare one setting.

    :param meaning: a sentence for the README
    :param default: its value when the variable is not set
    :param parse: from text to value; raises ValueError with what it expects
    :param unit: what a number counts
    :param option: what stands for its value in the help of `serve`; None if it is not an option there
    """
    return field(default=default, metadata={"meaning": meaning, "parse": parse, "unit": unit, "option": option})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set from outside, and nothing else."""

    redis_url: str | None = setting(
        "The URL of the Redis or Valkey with the data; `redis+sentinel://` and `redis+cluster://` for several servers. "
        "If it is not set, `serve` starts an embedded Valkey; `gunicorn wsgi:app` needs it.",
        None,
        redis_url,
        option="URL",
    )
    key_prefix: str = setting(
        "The start of the name of every key in the server. Keys without it are never touched.", "kv:", text
    )
    max_value_bytes: int = setting("The largest value.", 1024 * 1024, whole_number(1, 512 * 1024 * 1024), "bytes")
    max_body_bytes: int = setting(
        "The largest request body.", 16 * 1024 * 1024, whole_number(1, 1024 * 1024 * 1024), "bytes"
    )
    max_held_bytes: int = setting(
        "How many bytes of bodies, and of values that transactions read, one worker holds at a time, at most; never "
        "less than one body.",
        64 * 1024 * 1024,
        whole_number(1024 * 1024, 64 * 1024 * 1024 * 1024),
        "bytes",
    )
    max_lists: int = setting(
        "How many long lists and exports one worker sends at a time, at most; `HEAD /keys` and `DELETE /keys` count as "
        "well.",
        128,
        whole_number(1, 100_000),
        "lists",
    )
    max_watchers: int = setting(
        "How many event streams and long polls one worker has at a time, at most; with Granian 16 at most.",
        1_000,
        # A worker has 4,000 connections, and others want some too.
        whole_number(1, 3_000),
        "watchers",
    )
    keep_alive_seconds: int = setting(
        "How long an idle connection is kept open for the next request; it should be longer than a load balancer in "
        "front keeps it. Only for Gunicorn.",
        75,
        whole_number(1, 3_600),
        "seconds",
    )
    store_timeout_seconds: float = setting(
        "The time limit for one command to the store, including the wait for a connection.",
        2.0,
        seconds(0.05, 60.0),
        "seconds",
    )
    store_connections: int = setting(
        "How many connections one worker keeps to the store, at most; on a cluster, to each primary.",
        32,
        whole_number(1, 10_000),
        "connections",
    )
    unavailable_status: int = setting(
        "The HTTP status if the store fails: 500, or 503 for proxies that retry only that.",
        500,
        status,
    )
    delete_all: bool = setting(
        "Whether `DELETE /keys` without a filter deletes every key, as `?filter=$` does, or is refused: true or false.",
        default=True,
        parse=yes_or_no,
    )
    tokens_file: Path | None = setting(
        "The file with the digests of access tokens, written by `flaskvstore token create`. If it is not set, "
        "everybody may do everything.",
        None,
        path,
        option="FILE",
    )
    open: bool = setting(
        "Allow unauthenticated access from other machines: true or false.",
        default=False,
        parse=yes_or_no,
        option="",
    )
    hosts: tuple[str, ...] | None = setting(
        "The host names, separated by commas, that a service without tokens on this machine answers beside `localhost` "
        "and 127.0.0.1; `*` for all. With tokens, and where other machines reach it, it answers all.",
        None,
        hosts,
    )
    rate_limit: Rate | None = setting(
        "How many requests for keys each token may send (without tokens: each client address), as NUMBER/UNIT with "
        "second, minute, hour or day. If it is not set, there is no limit.",
        None,
        rate,
    )
    cors_origins: tuple[str, ...] | None = setting(
        "The origins whose web pages may use the service (CORS), separated by commas; `*` for all. "
        "If it is not set, none may.",
        None,
        origins,
    )
    trusted_proxies: int = setting(
        "How many reverse proxies in front add to `X-Forwarded-For` and similar headers; with 0 these are ignored.",
        0,
        whole_number(0, 100),
        "proxies",
    )
    log_level: str = setting(
        "The lowest level that is logged: debug, info, warning or error.",
        "info",
        OneOf("debug", "info", "warning", "error"),
    )
    log_format: str = setting(
        "json, text, or auto: text on a terminal and JSON elsewhere.", "auto", OneOf("auto", "json", "text")
    )
    statsd_host: Address | None = setting(
        "The statsd server for metrics, as HOST:PORT. If it is not set, nothing is measured.", None, address
    )
    statsd_prefix: str = setting(
        "The start of the name of every metric. The mapping in `monitoring/` expects the default.",
        "flaskvstore",
        metric_prefix,
    )
    bind: Address | UnixAddress = setting(
        "The address to listen on: HOST:PORT, or unix:/PATH for a unix socket. Only its own user may connect "
        "to that, or also others with unix:/PATH?mode=660.",
        Address("127.0.0.1", 5000),
        bind_address,
        option="ADDRESS",
    )
    server: str = setting(
        "The WSGI server: gunicorn, or granian, which needs the extra `flaskvstore[granian]` and `--trust-clients`. "
        "Only for `serve`.",
        "gunicorn",
        OneOf("gunicorn", "granian"),
        option="",
    )
    trust_clients: bool = setting(
        "Allow the server granian, which stores a chunked body that breaks off as if it were whole, and waits for slow "
        "clients without a limit: true or false.",
        default=False,
        parse=yes_or_no,
        option="",
    )
    workers: int = setting("The number of worker processes.", 2, whole_number(1, 256), "processes", option="N")
    data_dir: Path = setting(
        "The folder in which the embedded Valkey keeps its data.", Path("data"), path, option="FOLDER"
    )
    durability: str = setting(
        "When the embedded Valkey writes to disk: everysec, where a crash loses about one second of writes at most, or "
        "always, before each answer, where it loses no acknowledged write.",
        "everysec",
        OneOf("everysec", "always"),
        option="",
    )
    max_memory_bytes: int | None = setting(
        "How much memory the embedded Valkey may use for data; when it is full, writes are `store_full`. If it is not "
        "set, a third of the memory of the machine or the container.",
        None,
        whole_number(16 * 1024 * 1024, 512 * 1024 * 1024 * 1024),
        "bytes",
        option="BYTES",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        :param environ: environment variables, of which those named ``FLASKVSTORE_*`` count
        :raises StartError: one of them has a bad value, or is no setting
        """
        refuse_unknown(environ, [variable_name(each.name) for each in fields(cls)])
        values = {}
        for each in fields(cls):
            given = environ.get(variable_name(each.name))
            if given is not None:
                try:
                    values[each.name] = each.metadata["parse"](given)
                except ValueError as error:
                    shown = "" if each.name == "redis_url" else f"is {given!r}, which "
                    raise StartError(f"{shown}cannot be used: it must be {error}.", setting=each.name) from None
        return cls(**values)


def variable_name(name: str) -> str:
    """Return the environment variable of a setting.

    :param name: the field's name in :class:`Settings`
    """
    return PREFIX + name.upper()


def refuse_unknown(environ: Mapping[str, str], known: Sequence[str]) -> None:
    """Refuse a variable that is named as a setting and is none: a slip in a name must not open the service.

    :param known: the variables of all settings
    :raises StartError: there is one
    """
    for name, value in environ.items():
        bare = name.upper().removeprefix(PREFIX)
        if bare == name.upper() or name in known or name in OF_THE_CLIENT:
            continue
        if not OF_KUBERNETES.fullmatch(f"{bare}={value}"):
            nearest = get_close_matches(bare, [other.removeprefix(PREFIX) for other in known], n=1)
            hint = f"Did you mean {PREFIX}{nearest[0]}?" if nearest else "The README lists all settings."
            raise StartError(f"{name} is not a setting. {hint}")
