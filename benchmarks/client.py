"""What a GET costs a program by the Python client, and by httpx alone."""

import time
from collections.abc import Callable
from urllib.parse import quote

import httpx

from client import Store


REQUESTS = 300


def ratios(port: int, key: str, rounds: int) -> list[float]:
    """Return how much more CPU time of this process a GET by the client takes than one by httpx, in each round."""
    address = f"http://127.0.0.1:{port}"
    url = f"{address}/values/{quote(key, safe='')}"
    with Store(address) as kv, httpx.Client() as http:

        def bare() -> None:
            assert http.get(url).content

        def by_client() -> None:
            assert kv[key]

        # The first round warms everything up.
        return [_seconds(by_client) / _seconds(bare) for _ in range(rounds + 1)][1:]


def _seconds(ask: Callable[[], None]) -> float:
    begin = time.process_time()
    for _ in range(REQUESTS):
        ask()
    return time.process_time() - begin
