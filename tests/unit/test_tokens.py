"""The file of tokens, and the command that writes it."""

import hashlib
import hmac
import json
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from models import tokens as module
from models.errors import InsufficientScope, InvalidToken, TokenError, TokensUnusable
from models.tokens import SCOPES, Tokens
from tests.support.servers.services import PROGRAM, environment, told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def tokens(path: Path) -> Tokens:
    return Tokens(path)


def write(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the file as a person might."""
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


class TestFile:
    def test_a_token_that_was_made_is_found(self, tokens: Tokens) -> None:
        presented = tokens.create("shop", namespace="ns", scopes=["delete", "read"])

        found = tokens.find(presented)

        assert (found.name, found.namespace, found.scopes, found.expires_at) == ("shop", "ns", ("read", "delete"), None)

    def test_it_has_256_random_bits_and_the_file_has_only_its_digest(self, tokens: Tokens, path: Path) -> None:
        first, second = (tokens.create(name, namespace="ns", scopes=["read"]) for name in ("a", "b"))

        secrets = [text.rpartition("_")[2] for text in (first, second)]
        assert all(len(bytes.fromhex(secret)) == 32 for secret in secrets)
        assert secrets[0] != secrets[1]
        assert not any(secret in path.read_text() for secret in secrets)
        assert hashlib.sha256(first.encode()).hexdigest() in path.read_text()

    def test_it_is_its_owners_alone(self, tokens: Tokens, path: Path) -> None:
        tokens.create("a", namespace="ns", scopes=["read"])

        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_group_that_may_read_it_may_still_after_a_change(self, tokens: Tokens, path: Path) -> None:
        tokens.create("a", namespace="ns", scopes=["read"])
        path.chmod(0o640)

        tokens.create("b", namespace="ns", scopes=["read"])

        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize(
        "wrong",
        [
            "",
            "x",
            "fkv_",
            "fkv_a_",
            "fkv_a_{}0",
            "fkv_b_{}",
            "fkv_A_{}",
            "{}",
            "fkv_a_ {}",
            "ü",
            "\udcff",
            "a" * 100_000,
        ],
    )
    def test_anything_else_is_not_found(self, tokens: Tokens, wrong: str) -> None:
        secret = tokens.create("a", namespace="ns", scopes=["read"]).rpartition("_")[2]
        tokens.create("b", namespace="ns", scopes=["read"])

        with pytest.raises(InvalidToken) as caught:
            tokens.find(wrong.format(secret))
        assert secret not in str(caught.value)

    def test_digests_are_compared_in_constant_time_also_where_there_is_no_token(
        self, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])
        compared: list[str] = []

        def compare(*both: str) -> bool:
            compared.extend(both)
            return real(*both)

        real = hmac.compare_digest
        monkeypatch.setattr(hmac, "compare_digest", compare)

        tokens.find(presented)
        with pytest.raises(InvalidToken):
            tokens.find(presented.replace("_a_", "_nobody_"))

        assert [len(digest) for digest in compared] == [64] * 4

    def test_an_expired_token_is_refused(self, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"], expires_in_seconds=2 * 86_400)
        expires_at = tokens.find(presented).expires_at or 0

        monkeypatch.setattr(time, "time", lambda: expires_at - 0.001)
        tokens.find(presented)
        monkeypatch.setattr(time, "time", lambda: float(expires_at))
        with pytest.raises(InvalidToken, match="expired"):
            tokens.find(presented)

    def test_a_change_is_seen_at_once_by_others(self, tokens: Tokens, path: Path) -> None:
        reader = Tokens(path)
        first = tokens.create("a", namespace="ns", scopes=["read"])
        reader.find(first)

        second = tokens.create("b", namespace="ns", scopes=["read"])
        tokens.revoke("a")

        assert reader.find(second).name == "b"
        with pytest.raises(InvalidToken):
            reader.find(first)

    def test_a_name_is_given_once(self, tokens: Tokens) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        with pytest.raises(TokenError, match="already"):
            tokens.create("a", namespace="other", scopes=["read"])

        assert tokens.find(presented).namespace == "ns"

    def test_only_what_is_there_is_revoked(self, tokens: Tokens) -> None:
        tokens.create("a", namespace="ns", scopes=["read"])

        with pytest.raises(TokenError, match="no token"):
            tokens.revoke("b")

    @pytest.mark.parametrize("text", ["", "a:b", "a b", "a/b", "ü", "a" * 65, "a\n"])
    def test_names_have_letters_that_end_no_namespace(self, tokens: Tokens, text: str) -> None:
        with pytest.raises(TokenError, match="name"):
            tokens.create(text, namespace="ns", scopes=["read"])
        with pytest.raises(TokenError, match="namespace"):
            tokens.create("a", namespace=text, scopes=["read"])

    def test_programs_that_write_at_the_same_time_lose_nothing(self, path: Path) -> None:
        def create(number: int) -> None:
            Tokens(path).create(f"token{number}", namespace="ns", scopes=["read"])

        threads = [threading.Thread(target=create, args=[number]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(Tokens(path).by_name()) == 16

    def test_a_scope_that_is_missing_is_named(self, tokens: Tokens) -> None:
        token = tokens.find(tokens.create("a", namespace="ns", scopes=["read"]))

        token.require(["read"])
        with pytest.raises(InsufficientScope, match="lacks the scope write and delete") as caught:
            token.require(["delete", "read", "write"])
        assert caught.value.members == {"scopes": ["write", "delete"]}


def without(name: str) -> Callable[[Any], Any]:
    return lambda document: {"tokens": [{key: item for key, item in document["tokens"][0].items() if key != name}]}


def having(name: str, value: object) -> Callable[[Any], Any]:
    return lambda document: {"tokens": [{**document["tokens"][0], name: value}]}


WRONG_MEMBERS = [
    ("name", "a:b"),
    ("name", None),
    ("namespace", ""),
    ("namespace", "a:b"),
    ("scopes", "read"),
    ("scopes", ["admin"]),
    ("sha256", "0"),
    ("sha256", 0),
    ("created_at", "now"),
    ("expires_at", "never"),
    ("expires_at", True),
    ("expires_at", 10**30),
    ("expires_at", -1),
    ("created_at", 253_402_300_800),
    ("more", 1),
]
BROKEN: dict[str, Callable[[Any], Any]] = {
    "no object": lambda document: document["tokens"],
    "another member": lambda document: {**document, "more": 1},
    "no list": lambda document: {"tokens": dict(enumerate(document["tokens"]))},
    "an entry that is no object": lambda document: {"tokens": [*document["tokens"], "x"]},
    "a name twice": lambda document: {"tokens": document["tokens"] * 2},
    **{f"no {name}": without(name) for name in sorted(module.MEMBERS)},
    **{f"{name} is {value!r}": having(name, value) for name, value in WRONG_MEMBERS},
}


class TestBrokenFile:
    @pytest.mark.parametrize("how", BROKEN)
    def test_a_file_that_is_not_understood_lets_nobody_in(self, tokens: Tokens, path: Path, how: str) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])
        assert tokens.find(presented)

        write(path, BROKEN[how])

        with pytest.raises(TokensUnusable):
            tokens.find(presented)

    @pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"\xff", b'{"tokens": 1}', b"{}", b"[" * 100_000])
    def test_nor_does_one_that_is_no_such_document(self, tokens: Tokens, path: Path, content: bytes) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        path.write_bytes(content)

        with pytest.raises(TokensUnusable):
            tokens.find(presented)

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666, 0o644, 0o610])
    def test_nor_does_one_that_others_may_get_at(self, tokens: Tokens, path: Path, mode: int) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        path.chmod(mode)

        with pytest.raises(TokensUnusable) as caught:
            tokens.find(presented)
        assert "chmod 600" in str(caught.value.__cause__)

    def test_nor_does_one_that_is_gone_or_a_folder(self, tokens: Tokens, path: Path) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        path.unlink()
        with pytest.raises(TokensUnusable):
            tokens.find(presented)

        path.mkdir()
        with pytest.raises(TokensUnusable):
            tokens.find(presented)

    def test_nor_does_what_is_no_regular_file_and_nobody_waits_for_it(self, tokens: Tokens, path: Path) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])
        path.unlink()
        os.mkfifo(path, 0o600)

        with pytest.raises(TokensUnusable) as caught:
            tokens.find(presented)
        assert str(caught.value.__cause__) == "it is no regular file"

    def test_a_mended_file_works_again(self, tokens: Tokens, path: Path) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])
        good = path.read_text()
        path.write_text("{")
        with pytest.raises(TokensUnusable):
            tokens.find(presented)

        path.write_text(good)

        assert tokens.find(presented).name == "a"

    def test_a_broken_file_is_not_written_over(self, tokens: Tokens, path: Path) -> None:
        tokens.create("a", namespace="ns", scopes=["read"])
        path.write_text("{")

        with pytest.raises(TokensUnusable):
            tokens.create("b", namespace="ns", scopes=["read"])

        assert path.read_text() == "{"


class TestCommand:
    @pytest.fixture
    def run(self, path: Path) -> Callable[..., Result]:
        return lambda *arguments: told("token", *arguments, FLASKVSTORE_TOKENS_FILE=str(path))

    def test_create_prints_the_token_and_nothing_else(self, path: Path, tokens: Tokens) -> None:
        options = ("--name", "a", "--namespace", "ns", "--scope", "read", "--scope", "write")
        made = subprocess.run(
            [PROGRAM, "token", "create", *options],
            capture_output=True,
            text=True,
            check=True,
            env=environment(FLASKVSTORE_TOKENS_FILE=str(path)),
        )

        found = tokens.find(made.stdout.removesuffix("\n"))
        assert (found.scopes, found.namespace) == (("read", "write"), "ns")
        assert found.expires_at is None
        assert made.stderr == ""

    @pytest.mark.parametrize(
        ("text", "seconds"), [("1h", 3_600), ("12h", 43_200), ("90d", 90 * 86_400), ("36500d", 36_500 * 86_400)]
    )
    def test_an_expiry_is_in_days_or_hours(self, run: Any, tokens: Tokens, text: str, seconds: int) -> None:
        run("create", "--name", "a", "--namespace", "ns", "--scope", "read", "--expires-in", text)

        made = tokens.by_name()["a"]
        assert (made.expires_at or 0) - made.created_at == seconds

    @pytest.mark.parametrize(
        "scopes",
        [("read,write",), ("write,read",), ("read", "write"), ("read,write", "write")],
        ids=" ".join,
    )
    def test_scopes_are_separated_by_commas_or_given_one_by_one(
        self, run: Any, tokens: Tokens, scopes: tuple[str, ...]
    ) -> None:
        options = [part for scope in scopes for part in ("--scope", scope)]

        run("create", "--name", "a", "--namespace", "ns", *options)

        assert tokens.by_name()["a"].scopes == ("read", "write")

    @pytest.mark.parametrize(
        "wrong",
        [
            *(
                ("--expires-in", text)
                for text in ("", "0", "90", "0d", "-1d", "1w", "1.5d", "d", "36501d", "1D", "9 d")
            ),
            *(("--scope", text) for text in ("", "admin", "read,", "read,admin", "read write", "READ")),
            ("--tokens-file", ""),
        ],
        ids=" ".join,
    )
    def test_a_bad_value_is_refused_by_the_name_of_its_option(
        self, run: Any, path: Path, wrong: tuple[str, str]
    ) -> None:
        ended = run("create", "--name", "a", "--namespace", "ns", "--scope", "read", *wrong)

        assert ended.exit_code == 2
        assert f"Invalid value for '{wrong[0]}'" in ended.stderr
        assert ended.stdout == ""
        assert not path.exists()

    def test_list_shows_what_there_is_and_no_digest(self, run: Any, tokens: Tokens, path: Path) -> None:
        tokens.create("a", namespace="ns", scopes=SCOPES)
        tokens.create("longer", namespace="x", scopes=["read"], expires_in_seconds=1)
        write(
            path, lambda document: {"tokens": [document["tokens"][0], {**document["tokens"][1], "expires_at": 86_400}]}
        )

        head, first, second = run("list").stdout.splitlines()

        assert head.split() == ["NAME", "NAMESPACE", "SCOPES", "CREATED", "EXPIRES"]
        assert first.split()[:3] == ["a", "ns", "read,write,delete"]
        assert first.split()[-1] == "never"
        assert second.split()[-2:] == ["1970-01-02T00:00Z", "(expired)"]

    def test_revoke_ends_a_token(self, run: Any, tokens: Tokens) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        assert run("revoke", "--name", "a").exit_code == 0

        with pytest.raises(InvalidToken):
            tokens.find(presented)

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["create", "--namespace", "ns", "--scope", "read"], "--name"),
            (["create", "--name", "b", "--scope", "read"], "--namespace"),
            (["create", "--name", "b", "--namespace", "ns"], "--scope"),
            (["create", "--name", "b", "--namespace", "ns", "--scope", "admin"], "admin"),
            (["create", "--name", "b", "--namespace", "ns", "--scope", "read", "--expires-in", "0"], "expires-in"),
            (["create", "--name", "b:c", "--namespace", "ns", "--scope", "read"], "letters"),
            (["create", "--name", "a", "--namespace", "ns", "--scope", "read"], "already"),
            (["create", "--name", "b", "--namespace", "ns", "--scope", "read", "--tokens-file", "/no/where"], "/no"),
            (["revoke", "--name", "b"], "no token"),
            (["list", "--tokens-file", "/no/where"], "cannot be used"),
        ],
    )
    def test_what_cannot_be_done_is_said_in_a_sentence(
        self, run: Any, tokens: Tokens, path: Path, arguments: list[str], reason: str
    ) -> None:
        tokens.create("a", namespace="ns", scopes=["read"])
        before = path.read_bytes()

        ended = run(*arguments)

        assert ended.exit_code != 0
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr
        assert path.read_bytes() == before

    def test_it_has_to_be_told_the_file(self) -> None:
        assert "--tokens-file" in told("token", "list").stderr

    def test_a_folder_that_cannot_be_written_is_named(self, run: Any, tmp_path: Path) -> None:
        ended = run(
            "create", "--name", "a", "--namespace", "n", "--scope", "read", "--tokens-file", "/proc/tokens.json"
        )

        assert "/proc/tokens.json cannot be written" in ended.stderr
        assert list(tmp_path.iterdir()) == []
