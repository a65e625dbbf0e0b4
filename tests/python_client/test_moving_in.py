"""`flaskvstore import --from`: what other stores export moves in, and what cannot is named and counted."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from client import Store
from client.program import main
from client.rdb import read_rdb
from client.redis_url import read_server
from tests.project.test_documentation import EXPORTED, MOVED_IN
from tests.support.faults import Server
from tests.support.servers.services import Service


STRINGS = {
    b"text": "Grüße".encode(),
    b"empty": b"",
    b"bytes": bytes(range(256)),
    b"small number": b"7",
    b"numbers": b"-300",
    b"larger number": b"100000",
    b"compressed": b"abc" * 5_000,
    b"compressed otherwise": b"a" * 300 + bytes(range(256)) + b"a" * 300,
    b"long": bytes(range(256)) * 80,
    b"no \xff UTF-8": b"x",
}


@pytest.fixture
def kv(service: Service, service_connection: Redis) -> Iterator[Store]:
    service_connection.flushall()
    with Store(f"http://127.0.0.1:{service.port}") as store:
        yield store


def run(kv: Store, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["import", *arguments], env={"FLASKVSTORE_URL": kv.url})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with keys of every type, which has written its dump.rdb."""
    running = Server(tmp_path_factory.mktemp("server"))
    client: Any = running.admin
    for key, value in STRINGS.items():
        client.set(key, value)
    client.set("expires", "x", pxat=4_000_000_000_500)
    client.rpush("list", "a", 1, "b" * 100)
    client.rpush("long list", *("x" * 100 for _ in range(1_000)))
    client.sadd("set", "a", "b")
    client.sadd("numbers in a set", 1, 2)
    client.sadd("long set", *range(1_000), "x")
    client.zadd("sorted set", {"a": 1.5})
    client.zadd("long sorted set", {str(number): number for number in range(1_000)})
    client.hset("hash", "field", "value")
    client.hset("long hash", mapping={str(number): "x" * 100 for number in range(1_000)})
    client.xadd("stream", {"field": "value"})
    client.xgroup_create("stream", "group", 0)
    client.xreadgroup("group", "consumer", {"stream": ">"})
    client.select(1)
    client.set("of database 1", "x")
    client.select(0)
    client.save()
    client.config_set("requirepass", "se:cret")
    yield running
    running.kill()
    client.close()


def found_in(server: Server, *, live: bool) -> tuple[dict[bytes, tuple[bytes, int | None]], "Counter[str]"]:
    left_out: Counter[str] = Counter()
    url = f"redis://:se%3Acret@127.0.0.1:{server.port}/0"
    found = read_server(url, left_out) if live else read_rdb(str(server.directory / "dump.rdb"), left_out)
    return {key: (value, expires_at) for key, value, expires_at in found}, left_out


class TestRedis:
    @pytest.mark.parametrize("live", [True, False], ids=["a server", "a dump.rdb"])
    def test_its_strings_are_read_and_all_else_is_counted(self, server: Server, live: bool) -> None:
        found, left_out = found_in(server, live=live)

        assert {key: value for key, (value, _) in found.items()} == {**STRINGS, b"expires": b"x"}
        assert {key for key, (_, expires_at) in found.items() if expires_at} == {b"expires"}
        assert abs((found[b"expires"][1] or 0) - 4_000_000_001) <= 1
        others = {"list": 2, "set": 3, "zset": 2, "hash": 2, "stream": 1}
        assert left_out == (others if live else {**others, "string in database 1": 1})

    def test_it_moves_in(self, kv: Store, server: Server) -> None:
        moved = run(kv, "--from", "redis", str(server.directory / "dump.rdb"))

        assert moved.exit_code == 0
        assert moved.stderr.startswith("10 stored, 0 expired, 0 failed\n")
        assert "left out: key that is no UTF-8 (1)" in moved.stderr
        assert "left out: list (2)" in moved.stderr
        assert kv.entry("compressed").content == STRINGS[b"compressed"]
        assert abs(time.time() + (kv.entry("expires").ttl or 0) - 4_000_000_001) < 60

    def test_a_server_moves_in(self, kv: Store, server: Server) -> None:
        assert run(kv, "--from", "redis", f"redis://:se%3Acret@127.0.0.1:{server.port}").exit_code == 0
        assert kv.count() == 10

    def test_what_cannot_be_read_is_said(self, kv: Store, server: Server, tmp_path: Path) -> None:
        dump = (server.directory / "dump.rdb").read_bytes()
        (tmp_path / "cut.rdb").write_bytes(dump[: len(dump) // 2])
        (tmp_path / "other.rdb").write_bytes(b"PK\x03\x04 and so on")

        assert "cut off" in run(kv, "--from", "redis", str(tmp_path / "cut.rdb")).stderr
        assert "does not begin" in run(kv, "--from", "redis", str(tmp_path / "other.rdb")).stderr
        assert "WRONGPASS" in run(kv, "--from", "redis", f"redis://:other@127.0.0.1:{server.port}").stderr
        assert "NOAUTH" in run(kv, "--from", "redis", f"redis://127.0.0.1:{server.port}").stderr
        assert run(kv, "--from", "redis", "ftp://127.0.0.1").exit_code == 2


class TestFiles:
    def test_they_move_in_without_loss(self, kv: Store, tmp_path: Path) -> None:
        said = ""
        for name, content in EXPORTED.items():
            path = tmp_path / name
            path.write_text(content)
            kind = "dotenv" if name == ".env" else path.stem
            moved = run(kv, "--from", kind, str(path))
            assert moved.exit_code == 0, moved.output
            said += moved.stderr

        shown = {key: value if isinstance(value, str) else {"base64": "AP8="} for key, value in kv.items()}
        assert shown == MOVED_IN
        assert (kv.entry("cloudflare-text").ttl or 0) > 2_000_000_000
        assert [line for line in said.splitlines() if line.startswith("left out")] == [
            "left out: flags of a key (1)",
            "left out: key that is no UTF-8 (1)",
            "left out: metadata of a key (1)",
        ]

    def test_a_dry_run_stores_nothing(self, kv: Store, tmp_path: Path) -> None:
        (tmp_path / "cloudflare.json").write_text(EXPORTED["cloudflare.json"])

        shown = run(kv, "--from", "cloudflare", "--dry-run", str(tmp_path / "cloudflare.json"))

        assert [line.split()[-1] for line in shown.stdout.splitlines()] == [
            *("cloudflare-text", "cloudflare-bytes", "cloudflare-plain", "cloudflare-gone")
        ]
        assert shown.stdout.splitlines()[0].split()[:2] == ["4", "2128-06-11T08:53:20Z"]
        assert "4 would be stored" in shown.stderr
        assert kv.count() == 0

    def test_values_of_settings_are_read_as_they_are_quoted(self, kv: Store, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(
            'A="two\nlines\\n\\"\\\\" # a comment\nB=\'$HOME\\n\'\n  export  C = x y  \nno setting\nD="open\n'
        )

        moved = run(kv, "--from", "dotenv", str(tmp_path / ".env"))

        assert dict(kv.items()) == {"A": 'two\nlines\n"\\', "B": "$HOME\\n", "C": "x y", "D": '"open'}
        assert "left out: line that is no NAME=value (1)" in moved.stderr

    @pytest.mark.parametrize("kind", ["consul", "etcd", "cloudflare"])
    @pytest.mark.parametrize("content", ["no JSON", "{}", '[{"value": 1}]', '[{"key": "a", "value": "?"}, 5]'])
    def test_another_file_is_refused_before_anything_is_stored(
        self, kv: Store, tmp_path: Path, kind: str, content: str
    ) -> None:
        (tmp_path / "file").write_text(content)

        refused = run(kv, "--from", kind, str(tmp_path / "file"))

        if (kind, content) != ("consul", "{}") and (kind, content) != ("cloudflare", "{}"):
            assert refused.exit_code == 2, refused.output
        assert kv.count() == 0

    def test_a_dry_run_is_for_files_of_others(self, kv: Store) -> None:
        assert run(kv, "--dry-run").exit_code == 2
