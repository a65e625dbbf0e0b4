"""What proxies in front say: which client a request is of, and under which path the service stands."""

from collections.abc import Callable

import pytest
from redis import Redis

from api.app import create_app
from api.parsers import Rate
from api.settings import Settings
from models.store import Store
from tests.support.clients import Ask, in_process, pages
from tests.support.contract import Contract


ONE_CLIENT = [
    ["192.0.2.1", "192.0.2.1:1001", "192.0.2.1:65535", " 192.0.2.1 ", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80"],
    [
        "2001:db8::1",
        "2001:DB8::1",
        "2001:db8:0:0:0:0:0:1",
        "[2001:db8::1]",
        "[2001:db8::1]:443",
        "2001:db8::ffff:1:2:3",
    ],
    # What is no address counts as the proxy.
    [
        "unknown",
        "_hidden",
        "192.0.2.256",
        "192.0.2",
        "\xfc",
        "x" * 8_000,
        "1.2.3.4, x",
        "[::1",
        "1.2.3.4:x",
    ],
]
PLAIN = {"/kv": "/kv", "/kv/": "/kv", "/a/b-c_d.e~f": "/a/b-c_d.e~f", "/": "/", "": "/"}
NOT_PLAIN = [
    *(
        "kv",
        "//evil.example",
        "/kv//x",
        "/..",
        "/a/../b",
        "/.",
        "https://evil.example",
        "/kv>; rel=next",
        "/k v",
        "/%2e",
    ),
    *("/kv?x", "/kv#x", "/\xfc", "/kv\\", '/"', "/kv;x"),
]


@pytest.fixture
def backend() -> str:
    return "valkey"


@pytest.fixture
def behind(store: Store, contract: Contract) -> Callable[[int], Ask]:
    """Ask a service behind so many proxies."""
    limit = Rate(10, 3_600)
    return lambda proxies: in_process(
        create_app(Settings(trusted_proxies=proxies, rate_limit=limit), store=store), contract
    )


def remaining(ask: Ask, forwarded_for: str) -> int:
    """Send a request of a client, and return how many it has left."""
    answer = ask("GET", "/keys/a", b"", {"X-Forwarded-For": forwarded_for})
    return int(answer.headers["RateLimit-Remaining"])


@pytest.mark.parametrize("written", ONE_CLIENT, ids=lambda written: written[0])
def test_a_client_is_one_client_however_its_address_is_written(
    behind: Callable[[int], Ask], client: Redis, written: list[str]
) -> None:
    ask = behind(1)

    assert [remaining(ask, text) for text in written] == [9 - number for number in range(len(written))]
    [counter] = client.scan_iter("flaskvstore-hits:*")
    assert len(counter) < 100


def test_clients_of_other_addresses_and_networks_are_others(behind: Callable[[int], Ask]) -> None:
    ask = behind(1)

    for text in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "2001:db9::1", "unknown"):
        assert remaining(ask, text) == 9


def test_only_the_entry_that_the_first_trusted_proxy_has_written_counts(behind: Callable[[int], Ask]) -> None:
    one, two, none = behind(1), behind(2), behind(0)

    assert [remaining(one, f"10.0.0.{number}, 192.0.2.1:{number}") for number in range(3)] == [9, 8, 7]
    assert [remaining(two, f"10.9.9.9, 192.0.2.{number}, 10.0.0.1") for number in (7, 8)] == [9, 9]
    assert [remaining(none, f"192.0.2.{number}") for number in (20, 21)] == [9, 8]


@pytest.mark.parametrize(("prefix", "base_path"), [*PLAIN.items(), *((prefix, "/") for prefix in NOT_PLAIN)])
def test_a_prefix_is_a_plain_path_or_ignored(behind: Callable[[int], Ask], prefix: str, base_path: str) -> None:
    ask = behind(1)
    headers = {"X-Forwarded-Prefix": prefix}

    assert ask("GET", "/swagger.json", b"", headers).json["basePath"] == base_path
    assert ask("GET", "/openapi.json", b"", headers).json["servers"] == [{"url": base_path}]
    assert ask("GET", "/keys/a", b"", headers).code == "key_not_found"
    assert ask("GET", "/", b"", headers).status == 200


def test_nothing_of_one_request_is_kept_for_others(behind: Callable[[int], Ask]) -> None:
    ask = behind(1)

    def base_path(**headers: str) -> str:
        path: str = ask("GET", "/swagger.json", b"", headers).json["basePath"]
        return path

    seen = [base_path(**{"X-Forwarded-Prefix": prefix}) for prefix in ("/first", "//evil.example", "/second")]

    assert [*seen, base_path()] == ["/first", "/", "/second", "/"]


@pytest.mark.parametrize("proxies", [0, 1])
@pytest.mark.parametrize("prefix", ["/kv", "//evil.example", "/kv>; rel=next"])
def test_a_link_is_relative_and_leads_on_behind_every_proxy(
    store: Store, contract: Contract, proxies: int, prefix: str
) -> None:
    store.put({f"key {number}": b"" for number in range(100)})
    ask = in_process(create_app(Settings(trusted_proxies=proxies), store=store), contract)

    answer = ask("GET", "/keys?limit=10&filter=key%20$", b"", {"X-Forwarded-Prefix": prefix})

    assert answer.headers["Link"].startswith("<?limit=10&cursor=")
    assert answer.headers["Link"].endswith('&filter=key+%24>; rel="next"')
    assert len({key for page in pages(ask, "/keys?limit=10&filter=key%20$") for key in page}) == 100
