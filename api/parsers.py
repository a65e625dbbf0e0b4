"""How each kind of setting is read from text: a ValueError says what was expected."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from models.address import MAX_PORT, Address, UnixAddress
from models.valkey.url import StoreUrl


WINDOW_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


class Rate(NamedTuple):
    """How many requests are allowed in how many seconds."""

    requests: int
    window_seconds: int

    def __str__(self) -> str:
        return f"{self.requests}/{self.window_seconds}s"


def text(value: str) -> str:
    """Read text, which must be UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text in UTF-8") from None
    return value


def path(value: str) -> Path:
    """Read the path of a file or a folder. An empty one would be the current folder, which nobody means."""
    if not value:
        raise ValueError("a path")
    return Path(value)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers.

    :param low: the smallest that is allowed
    :param high: the largest that is allowed
    """

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of durations.

    :param low: the shortest that is allowed
    :param high: the longest that is allowed
    """

    def parse(value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or not low <= float(value) <= high:
            raise ValueError(f"a number of seconds from {low} to {high}")
        return float(value)

    return parse


class OneOf:
    """A parser that accepts some words only."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, value: str) -> str:
        """Read one of them."""
        if value not in self.choices:
            raise ValueError("one of " + ", ".join(self.choices))
        return value


def status(value: str) -> int:
    """Read the status for a store that cannot answer."""
    return int(OneOf("500", "503")(value))


def address(value: str) -> Address:
    """Read ``HOST:PORT``; an IPv6 host stands in brackets."""
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>[0-9]{1,5})", value)
    if not match or int(match["port"]) > MAX_PORT:
        raise ValueError("HOST:PORT, such as 127.0.0.1:5000 or [::1]:5000")
    return Address(match["v6"] or match["host"], int(match["port"]))


def bind_address(value: str) -> Address | UnixAddress:
    """Read ``HOST:PORT`` or ``unix:/PATH``; the mode of a unix socket may follow as in a query."""
    if not value.startswith("unix:"):
        return address(value)
    match = re.fullmatch(r"unix:(?://)?(?P<path>/(?!/)[^?#\0]+)(?:\?mode=0?(?P<mode>[0-7]{3}))?", value)
    if not match:
        raise ValueError("unix:/PATH or unix:/PATH?mode=660, or HOST:PORT")
    return UnixAddress(match["path"], int(match["mode"] or "600", 8))


def rate(value: str) -> Rate:
    """Read ``NUMBER/UNIT``: so many requests in a unit of time."""
    requests, _, unit = value.partition("/")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", requests) or unit not in WINDOW_SECONDS:
        raise ValueError("NUMBER/UNIT with second, minute, hour or day, such as 100/minute")
    return Rate(int(requests), WINDOW_SECONDS[unit])


def origins(value: str) -> tuple[str, ...]:
    """Read origins of web pages (RFC 6454), separated by commas; ``*`` alone is every origin."""
    listed = tuple(value.split(","))
    if listed != ("*",) and not all(re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", each) for each in listed):
        raise ValueError("*, or origins such as https://app.example.com, separated by commas")
    return listed


def hosts(value: str) -> tuple[str, ...]:
    """Read names of hosts without ports, separated by commas; ``*`` alone is every name."""
    listed = tuple(value.lower().split(","))
    if listed != ("*",) and not all(re.fullmatch(r"[a-z0-9_.-]*[a-z0-9]|\[[0-9a-f:.]+\]", each) for each in listed):
        raise ValueError("*, or names such as kv.example.com, without ports and separated by commas")
    return listed


def yes_or_no(value: str) -> bool:
    """Read ``true`` or ``false``."""
    return OneOf("true", "false")(value) == "true"


def metric_prefix(value: str) -> str:
    """Read the prefix of metrics: words joined by dots."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", value):
        raise ValueError("letters, digits, _ and -, in words joined by dots")
    return value


def redis_url(value: str) -> str:
    """Read the URL of a store."""
    StoreUrl.parse(value)
    return value
