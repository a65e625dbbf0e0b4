"""What attackers send, and honest clients that measure what they notice of it.

Both are processes of their own, so that neither waits for the other: `python -m tests.support.overload ROLE ...`.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any, NamedTuple

from tests.support.clients import JSON, NDJSON, bearer
from tests.support.wire import Cut, Wire


HONEST_CLIENTS = 4
# Between two requests of an honest client, and two connections of an attacker.
PAUSE_SECONDS = 0.01
# The attackers' data: large values, and keys that make a filter expensive.
LARGE_KEYS = [f"large {number:04}" for number in range(300)]
LARGE_BYTES = 1024 * 1024
LONG_KEYS = [f"{'a' * 1000}{number:06}" for number in range(10_000)]
ENDLESS = 10**12

# Sends something on a new connection, again and again until it is stopped.
Attack = Callable[["Target"], None]


class Target(NamedTuple):
    """A connection of an attacker.

    :param wire: the connection
    :param token: its headers; empty for an attacker without a token
    :param until: when to stop
    """

    wire: Wire
    token: dict[str, str]
    until: float

    @property
    def rounds(self) -> Iterator[None]:
        """Go on until it is time to stop."""
        while time.monotonic() < self.until:
            yield

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        """Send a request, and read its answer."""
        self.wire.ask(method, target, body, {**self.token, **headers})

    def begin(self, method: str, target: str, headers: dict[str, str]) -> None:
        """Send a request up to its body."""
        self.wire.begin(method, target, {**self.token, **headers})

    def hold(self) -> None:
        """Keep the connection open, and do nothing, until the service closes it."""
        self.wire.socket.settimeout(max(0.01, self.until - time.monotonic()))
        with contextlib.suppress(TimeoutError):
            self.wire.rest()


def pipelined(target: Target) -> None:
    """Send cheap requests without waiting, and read answers as they come."""
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_500
    for _ in target.rounds:
        target.wire.socket.settimeout(1)
        target.wire.send(request)
        target.wire.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while target.wire.socket.recv(1 << 20):
                pass


def endless_chunks(target: Target) -> None:
    target.begin("PUT", "/keys/x", {"Transfer-Encoding": "chunked"})
    for _ in target.rounds:
        target.wire.send(b"1\r\nx\r\n" * 10_000)


def endless_body(target: Target) -> None:
    target.begin("PUT", "/keys/x", {"Content-Length": str(ENDLESS)})
    for _ in target.rounds:
        target.wire.send(b"x" * 65_536)


def half_head(target: Target) -> None:
    target.wire.send(b"GET /keys HTTP/1.1\r\nHost: lo")
    target.hold()


def idle(target: Target) -> None:
    target.hold()


def half_body(target: Target) -> None:
    target.begin("PUT", "/keys", {"Content-Length": str(16 * 1024 * 1024), **JSON})
    target.wire.send(b"x" * (16 * 1024 * 1024 - 1))
    target.hold()


def slow_body(target: Target) -> None:
    target.begin("PUT", "/keys/x", {"Content-Length": "10000"})
    for _ in target.rounds:
        target.wire.send(b"x")
        time.sleep(0.5)


def wrong_token(target: Target) -> None:
    for _ in target.rounds:
        target.wire.ask("GET", "/keys/x", headers=bearer("wrong"))


def garbage_lines(target: Target) -> None:
    target.begin("PUT", "/keys", {"Transfer-Encoding": "chunked", **NDJSON})
    target.wire.send(_chunk(b'{"key": "x", "value": ""}\n'))
    for _ in target.rounds:
        target.wire.send(_chunk(b"x\n" * 10_000))


def deep_lines(target: Target) -> None:
    target.begin("PUT", "/keys", {"Transfer-Encoding": "chunked", **NDJSON})
    target.wire.send(_chunk(b'{"key": "x", "value": ""}\n'))
    for _ in target.rounds:
        target.wire.send(_chunk((b'{"a":' + b"[" * 900 + b"\n") * 100))


def endless_import(target: Target) -> None:
    target.begin("PUT", "/keys", {"Transfer-Encoding": "chunked", **NDJSON})
    for _ in target.rounds:
        target.wire.send(_chunk(b'{"key": "imported", "value": "v"}\n' * 1_000))


def large_reads(target: Target) -> None:
    _ask_json(target, {"get": LARGE_KEYS})


def large_reads_with_a_condition(target: Target) -> None:
    _ask_json(target, {"if": {LARGE_KEYS[0]: "*"}, "get": LARGE_KEYS})


def conditions_by_tag(target: Target) -> None:
    tag = f'"{"0" * 40}"'
    _ask_json(target, {"if": dict.fromkeys(LARGE_KEYS, tag), "put": {"x": "1"}})


def conditions_that_exist(target: Target) -> None:
    _ask_json(target, {"if": dict.fromkeys(LARGE_KEYS, "*"), "put": {"x": "1"}})


def empty_form(target: Target) -> None:
    body = b"=&" * (8 * 1024 * 1024)
    for _ in target.rounds:
        target.ask("PUT", "/keys", body, **{"Content-Type": "application/x-www-form-urlencoded"})


def empty_members(target: Target) -> None:
    body = b'{"a":[' + b"[]," * (5 * 1024 * 1024) + b"[]]}"
    for _ in target.rounds:
        target.ask("PUT", "/keys", body, **JSON)


def many_pairs(target: Target) -> None:
    body = json.dumps({f"pair {number}": "" for number in range(131_072)}).encode()
    for _ in target.rounds:
        target.ask("PUT", "/keys?expire_in=60", body, **JSON, **{"If-None-Match": "*"})


def long_filter(target: Target) -> None:
    for _ in target.rounds:
        target.ask("GET", f"/keys?values=false&limit=10000&filter=%24{'a' * 500}b%24")


def counts_with_a_long_filter(target: Target) -> None:
    request = b"HEAD /keys?filter=%24" + b"a" * 900 + b"b%24 HTTP/1.1\r\nHost: localhost\r\n"
    token = "".join(f"{name}: {value}\r\n" for name, value in target.token.items()).encode()
    for _ in target.rounds:
        target.wire.send(request + token + b"\r\n")
        target.wire.answer("HEAD")


def readers_that_do_not_read(target: Target) -> None:
    target.begin("GET", "/keys?filter=large%20%24", {})
    target.wire.head()
    time.sleep(max(0, target.until - time.monotonic()))


def exports(target: Target) -> None:
    for _ in target.rounds:
        target.ask("GET", "/keys", Accept="application/x-ndjson")


WITHOUT_TOKEN: list[Attack] = [
    *(pipelined, endless_chunks, endless_body, half_head, idle, half_body, slow_body, wrong_token),
]
WITH_TOKEN: list[Attack] = [
    *(half_body, slow_body, garbage_lines, deep_lines, endless_import, large_reads, large_reads_with_a_condition),
    *(conditions_by_tag, conditions_that_exist, empty_form, empty_members, many_pairs, long_filter),
    *(counts_with_a_long_filter, readers_that_do_not_read, exports),
]


class Noticed(NamedTuple):
    """What honest clients have noticed.

    :param seconds: how long each of their requests took, in ascending order
    :param failures: what came instead of a success
    """

    seconds: list[float]
    failures: list[str]

    def quantile_ms(self, part: float) -> float:
        """Return how many milliseconds this part of the requests took at most."""
        return 1000 * self.seconds[min(int(part * len(self.seconds)), len(self.seconds) - 1)]


def attacked(port: int, attack: Attack, connections: int, seconds: float, *, token: str, honest: str) -> Noticed:
    """Attack a service, and return what honest clients notice.

    :param token: that of the attackers; empty for none
    :param honest: the token of the honest clients
    """
    words = [sys.executable, "-m", "tests.support.overload", str(port), str(seconds)]
    attackers = subprocess.Popen([*words, token, attack.__name__, str(connections)])
    try:
        clients = subprocess.run(
            [*words, honest, "", str(HONEST_CLIENTS)], stdout=subprocess.PIPE, check=True, timeout=seconds + 60
        )
        assert attackers.wait(seconds + 60) == 0
    finally:
        attackers.kill()
        attackers.wait()
    return Noticed(**json.loads(clients.stdout))


def _ask_json(target: Target, body: Any) -> None:
    encoded = json.dumps(body).encode()
    for _ in target.rounds:
        target.ask("POST", "/keys", encoded, **JSON)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _attack(port: int, attack: Attack, token: str, until: float) -> None:
    while time.monotonic() < until:
        with contextlib.suppress(OSError, Cut, ValueError), Wire(port) as wire:
            wire.socket.settimeout(max(0.01, until - time.monotonic()))
            attack(Target(wire, bearer(token) if token else {}, until))
        time.sleep(PAUSE_SECONDS)


def _measure(port: int, token: str, number: int, until: float) -> Noticed:
    seconds: list[float] = []
    failures: list[str] = []
    with Wire(port) as wire:
        # Else a body waits for the acknowledgement of its head.
        wire.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        while (started := time.monotonic()) < until:
            method = "GET" if len(seconds) % 2 else "PUT"
            try:
                answer = wire.ask(method, f"/keys/honest%20{number}", b"v" * 100 * (method == "PUT"), bearer(token))
            except (OSError, Cut) as error:
                failures.append(f"{method}: {error!r}")
                break
            seconds.append(time.monotonic() - started)
            if answer.status != 200:
                failures.append(f"{method}: {answer.body.decode()}")
            time.sleep(PAUSE_SECONDS)
    return Noticed(seconds, failures)


def _main(port: int, seconds: float, token: str, attack: str, connections: int) -> None:
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(connections) as pool:
        if attack:
            # The machine is shared: what counts is what the service does, and not who is first at a core.
            os.nice(10)
            for each in [pool.submit(_attack, port, globals()[attack], token, until) for _ in range(connections)]:
                each.result()
            return
        # The attack begins before what is measured.
        time.sleep(min(1, seconds / 4))
        found = list(pool.map(lambda number: _measure(port, token, number, until), range(connections)))
    both = Noticed(
        sorted(second for each in found for second in each.seconds),
        [failure for each in found for failure in each.failures],
    )
    json.dump(both._asdict(), sys.stdout)


if __name__ == "__main__":
    _, port_text, seconds_text, token_text, attack_name, connections_text = sys.argv
    _main(int(port_text), float(seconds_text), token_text, attack_name, int(connections_text))
