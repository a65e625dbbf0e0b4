"""Every setting: one field each, with its type, default, unit and meaning; the README's table is held against it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from api.parsers import (
    Rate,
    address,
    metric_prefix,
    one_of,
    origins,
    rate,
    redis_url,
    seconds,
    status,
    text,
    whole_number,
    yes_or_no,
)
from models.address import Address
from models.errors import FlaskvstoreError


PREFIX = "FLASKVSTORE_"


class StartError(FlaskvstoreError):
    """The program cannot start with these settings on this machine."""


def setting(meaning: str, default: Any, parse: Callable[[str], Any], unit: str = "") -> Any:
    """Declare one setting.

    :param meaning: a sentence for the README
    :param default: its value when the variable is not set
    :param parse: from text to value; raises ValueError with what it expects
    :param unit: what a number counts
    """
    return field(default=default, metadata={"meaning": meaning, "parse": parse, "unit": unit})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set from outside, and nothing else."""

    redis_url: str | None = setting(
        "The Redis or Valkey that holds the data; `redis+sentinel://` and `redis+cluster://` for many. `serve` "
        "embeds one if it is not set; `gunicorn wsgi:app` needs it.",
        None,
        redis_url,
    )
    key_prefix: str = setting(
        "What the name of every key starts with in the server. Keys without it are never touched.", "kv:", text
    )
    max_value_bytes: int = setting("The largest value.", 1024 * 1024, whole_number(1, 512 * 1024 * 1024), "bytes")
    max_body_bytes: int = setting(
        "The largest request body.", 16 * 1024 * 1024, whole_number(1, 1024 * 1024 * 1024), "bytes"
    )
    max_lists: int = setting(
        "The most long lists and exports that one worker sends at a time.", 512, whole_number(1, 100_000), "lists"
    )
    store_timeout_seconds: float = setting(
        "The longest that one answer of the store is waited for, connecting included.",
        2.0,
        seconds(0.05, 60.0),
        "seconds",
    )
    store_connections: int = setting(
        "The most connections to the store that one worker keeps; on a cluster, to each primary.",
        32,
        whole_number(1, 10_000),
        "connections",
    )
    unavailable_status: int = setting(
        "The HTTP status when the store cannot do what it should: 500, or 503 for proxies that retry only that.",
        500,
        status,
    )
    tokens_file: Path | None = setting(
        "Where the digests of access tokens are kept, which `flaskvstore token create` writes. Everybody may do "
        "everything if it is not set.",
        None,
        Path,
    )
    open: bool = setting(
        "Allow unauthenticated access from other machines: true or false.",
        default=False,
        parse=yes_or_no,
    )
    rate_limit: Rate | None = setting(
        "How many requests for keys each token, or without tokens each address, may send, as NUMBER/UNIT with second, "
        "minute, hour or day. Nothing is limited if it is not set.",
        None,
        rate,
    )
    cors_origins: tuple[str, ...] | None = setting(
        "The origins whose web pages may use the service (CORS), separated by commas; `*` for all. "
        "None if it is not set.",
        None,
        origins,
    )
    trusted_proxies: int = setting(
        "How many proxies in front add to `X-Forwarded-For` and its like; with 0 these headers are ignored.",
        0,
        whole_number(0, 100),
        "proxies",
    )
    log_level: str = setting(
        "The least severe lines that are logged: debug, info, warning or error.",
        "info",
        one_of("debug", "info", "warning", "error"),
    )
    log_format: str = setting(
        "json, text, or auto: text on a terminal and JSON elsewhere.", "auto", one_of("auto", "json", "text")
    )
    statsd_host: Address | None = setting(
        "Where metrics are sent, as HOST:PORT of a statsd server. Nothing is measured if it is not set.", None, address
    )
    statsd_prefix: str = setting(
        "What the name of every metric starts with. The mapping in `monitoring/` expects the default.",
        "flaskvstore",
        metric_prefix,
    )
    bind: Address = setting("Where the service listens.", Address("127.0.0.1", 5000), address)
    server: str = setting(
        "What serves requests: gunicorn, or granian, which needs the extra `flaskvstore[granian]`. Only for `serve`.",
        "gunicorn",
        one_of("gunicorn", "granian"),
    )
    workers: int = setting("How many worker processes serve requests.", 2, whole_number(1, 256), "processes")
    data_dir: Path = setting("Where the embedded Valkey keeps its data.", Path("data"), Path)
    durability: str = setting(
        "When the embedded Valkey writes to disk: everysec loses at most about a second of writes in a crash, "
        "always none that were acknowledged.",
        "everysec",
        one_of("everysec", "always"),
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the settings.

        :param environ: environment variables, of which those named ``FLASKVSTORE_*`` count
        :raises StartError: one of them has a bad value
        """
        values = {}
        for each in fields(cls):
            variable = variable_name(each.name)
            if variable in environ:
                try:
                    values[each.name] = each.metadata["parse"](environ[variable])
                except ValueError as error:
                    shown = "" if each.name == "redis_url" else f" is {environ[variable]!r}, which"
                    raise StartError(f"{variable}{shown} cannot be used: it must be {error}.") from None
        return cls(**values)


def variable_name(name: str) -> str:
    """Return the environment variable of a setting.

    :param name: the field's name in :class:`Settings`
    """
    return PREFIX + name.upper()
