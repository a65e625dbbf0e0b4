"""Thousands of wrong requests: each ends in a 4xx or in a closed connection, and the service goes on."""

import re
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.support.amounts import SEED, amount
from tests.support.clients import Ask
from tests.support.malformed import requests
from tests.support.servers.services import Service, workers


CLIENTS = 4
REQUESTS = amount(700, 10_500)
CLOSED = "closed"
STATUS_LINE = re.compile(rb"^HTTP/1\.[01] (\d{3}) ")


@pytest.mark.grows
def test_a_malformed_request_ends_in_a_4xx_or_a_closed_connection(
    service: Service, served: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    before = workers(service)
    assert served("PUT", "/keys/here", b"untouched").status == 200
    made = list(requests(SEED, REQUESTS))

    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = list(pool.map(lambda each: outcome_of(service.port, each[1]), made))

    by_kind = {(kind, outcome): sent for (kind, sent), outcome in zip(made, outcomes, strict=True)}
    wrong = {at: sent for at, sent in by_kind.items() if at[1] != CLOSED and not at[1].startswith("4")}
    assert wrong == {}
    summary = Counter(outcomes)
    with capsys.disabled():
        sys.stdout.write(f"\n{REQUESTS:,} malformed requests: {dict(sorted(summary.items()))}\n")
    assert summary.keys() >= {CLOSED, "400", "404", "405", "406", "413", "414", "415", "431"}
    assert served("GET", "/keys").json == {"here": "untouched"}
    assert workers(service) == before


def outcome_of(port: int, data: bytes) -> str:
    """Send bytes and nothing more, and give the status of what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        received = b""
        try:
            connection.sendall(data)
            # It may have answered and gone before it is told that this was all.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                received += more
        except (ConnectionResetError, BrokenPipeError):
            # It need not read to the end what it refuses.
            pass
    status = STATUS_LINE.match(received)
    assert status or not received, received
    return status[1].decode() if status else CLOSED
