"""The URLs of stores, taken apart. Which are refused is in tests/unit/test_settings.py."""

import pytest

from models.address import Address
from models.valkey.url import StoreUrl


@pytest.mark.parametrize(
    ("text", "kind", "hosts"),
    [
        ("redis://X", "", [("X", 6379)]),
        ("redis://u:p@h:1/2", "", [("h", 1)]),
        ("rediss://[::1]", "", [("::1", 6379)]),
        ("unix:/a/socket", "", []),
        ("redis+sentinel://h/service", "sentinel", [("h", 26379)]),
        ("redis+sentinel://h:1,[::1]/service", "sentinel", [("h", 1), ("::1", 26379)]),
        ("redis+cluster://h,i:7000", "cluster", [("h", 6379), ("i", 7000)]),
    ],
)
def test_a_url_says_what_kind_of_store_it_is_and_where(text: str, kind: str, hosts: list[tuple[str, int]]) -> None:
    url = StoreUrl.parse(text)

    assert (url.kind, [tuple(host) for host in url.hosts]) == (kind, hosts)


@pytest.mark.parametrize(
    ("text", "service", "database"),
    [
        ("redis+sentinel://h/a%20b", "a b", "0"),
        ("redis+sentinel://h/s/3", "s", "3"),
        ("redis+sentinel://h/s?db=4", "s", "4"),
    ],
)
def test_that_of_sentinels_has_a_service_and_a_database(text: str, service: str, database: str) -> None:
    url = StoreUrl.parse(text)

    assert (url.service, url.database) == (service, database)


def test_servers_have_its_user_and_database_and_sentinels_have_their_own() -> None:
    there = Address("::1", 1)
    named = StoreUrl.parse("redis+sentinel://u:p%40@h/s/3?sentinel_username=a&sentinel_password=b%2F")
    cluster = StoreUrl.parse("redis+cluster://u:p@h")
    plain = StoreUrl.parse("redis+sentinel://u:p@h/s")

    assert named.of_server(there) == "redis://u:p%40@[::1]:1/3"
    assert named.of_discovery(there) == "redis://a:b%2F@[::1]:1"
    assert plain.of_discovery(there) == "redis://[::1]:1"
    assert cluster.of_discovery(there) == cluster.of_server(there) == "redis://u:p@[::1]:1/0"
