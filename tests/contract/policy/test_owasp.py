"""The OWASP API Security Top 10 of 2023, line by line, as far as it applies; `docs/access.md` has the same lines."""

import inspect
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis, exceptions

from api.app import create_app
from api.errors import KNOWN
from api.serving.embedded import EmbeddedServer
from api.settings import Settings, StartError
from models.tokens import SCOPES, Tokens
from tests.support.clients import AS_NDJSON, AS_TEXT, Ask, ask_json, bearer, in_process
from tests.support.contract import Contract
from tests.support.servers.stores import MAX_VALUE_BYTES, broken_store, store_of


ACCESS = (Path(__file__).parent.parent.parent.parent / "docs" / "access.md").read_text()
LIMITS = (Path(__file__).parent.parent.parent.parent / "docs" / "limits.md").read_text()
SECRET = "a secret value"  # noqa: S105  # it is one for these tests only


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.json")


@pytest.fixture
def owner(tokens: Tokens) -> dict[str, str]:
    """Headers with every scope in the namespace ``mine``."""
    return bearer(tokens.create("owner", namespace="mine", scopes=SCOPES))


@pytest.fixture
def app(owner: Mapping[str, str], valkey_client: Redis, tmp_path: Path) -> Flask:
    store = store_of(valkey_client)
    return create_app(Settings(tokens_file=tmp_path / "tokens.json", max_body_bytes=2_000_000), store=store)


@pytest.fixture
def ask(app: Flask, contract: Contract) -> Ask:
    return in_process(app, contract)


class TestApi1BrokenObjectLevelAuthorization:
    def test_no_call_reaches_a_key_of_another_namespace(
        self, ask: Ask, owner: Mapping[str, str], tokens: Tokens
    ) -> None:
        ask("PUT", "/keys/a", SECRET.encode(), owner)
        other = bearer(tokens.create("other", namespace="other", scopes=SCOPES))

        for key in ("a", "mine:a", "kv:mine:a", "..%2Fmine:a", "%2e%2e/mine:a", "mine%3Aa"):
            for method in ("GET", "HEAD", "DELETE"):
                assert ask(method, f"/keys/{key}", b"", other).status == 404
        seen = ask_json(ask, "POST", "/keys", {"get": ["a", "mine:a"]}, other).json["values"]

        assert seen == {"a": None, "mine:a": None}
        assert ask("GET", "/keys", b"", other).json == {}
        assert ask("GET", "/keys/a", b"", owner).json == {"a": SECRET}


class TestApi2BrokenAuthentication:
    def test_only_the_whole_token_opens(self, ask: Ask, owner: Mapping[str, str]) -> None:
        presented = owner["Authorization"]
        for wrong in (presented[:-1], presented + "0", presented.upper(), presented.replace("owner", "other"), ""):
            assert ask("GET", "/keys", b"", {"Authorization": wrong}).status == 401

    def test_it_is_kept_as_a_digest(self, owner: Mapping[str, str], tmp_path: Path) -> None:
        assert owner["Authorization"].rpartition("_")[2] not in (tmp_path / "tokens.json").read_text()

    def test_no_settings_open_the_door_by_accident(self, tmp_path: Path) -> None:
        for variable in ("TOKEN_FILE", "TOKENS_FILES", "TOKENS"):
            with pytest.raises(StartError, match="Did you mean FLASKVSTORE_TOKENS_FILE"):
                Settings.from_env({f"FLASKVSTORE_{variable}": str(tmp_path / "tokens.json")})
        with pytest.raises(StartError, match="FLASKVSTORE_TOKENS_FILE"):
            Settings.from_env({"FLASKVSTORE_TOKENS_FILE": ""})
        for path in (str(tmp_path), str(tmp_path / "missing")):
            settings = Settings.from_env({"FLASKVSTORE_TOKENS_FILE": path})
            with pytest.raises(StartError, match="FLASKVSTORE_TOKENS_FILE"):
                create_app(settings, store=broken_store(exceptions.ConnectionError()))


class TestApi3BrokenObjectPropertyLevelAuthorization:
    @pytest.mark.parametrize(
        ("method", "target", "body"),
        [
            ("PATCH", "/keys/a", {"increment": 1, "namespace": "other"}),
            ("PATCH", "/keys/a", {"value": "x"}),
            ("POST", "/keys", {"put": {"a": "x"}, "namespace": "other"}),
            ("POST", "/keys", {"put": {"a": "x"}, "scopes": ["delete"]}),
        ],
    )
    def test_members_that_are_not_declared_are_refused(
        self, ask: Ask, owner: Mapping[str, str], method: str, target: str, body: object
    ) -> None:
        ask("PUT", "/keys/a", b"1", owner)

        assert ask_json(ask, method, target, body, owner).status == 400
        assert ask("GET", "/keys/a", b"", owner).json == {"a": "1"}

    def test_who_may_only_write_and_delete_sees_no_value(
        self, ask: Ask, owner: Mapping[str, str], tokens: Tokens
    ) -> None:
        ask("PUT", "/keys/a", SECRET.encode(), owner)
        writer = bearer(tokens.create("writer", namespace="mine", scopes=["write", "delete"]))

        answers = [
            ask("GET", "/keys/a", b"", writer),
            ask("GET", "/keys", b"", writer),
            ask("GET", "/keys", b"", {**AS_NDJSON, **writer}),
            ask_json(ask, "PATCH", "/keys/a", {"append": ""}, writer),
            ask_json(ask, "PATCH", "/keys/a", {"expire_in": 60}, writer),
            ask_json(ask, "POST", "/keys", {"get": ["a"], "put": {"b": "x"}}, writer),
            ask("PUT", "/keys/a", b"x", {"If-None-Match": "*", **writer}),
            ask("PUT", "/keys?a=x", b"", {"If-None-Match": "*", **writer}),
            ask("DELETE", "/keys/a", b"", writer),
        ]

        assert [answer.status for answer in answers] == [403, 403, 403, 403, 403, 403, 412, 412, 200]
        assert not any(SECRET.encode() in answer.body for answer in answers)

    def test_no_error_shows_a_value(self, ask: Ask, owner: Mapping[str, str]) -> None:
        ask("PUT", "/keys/a", SECRET.encode(), owner)

        for answer in (
            ask_json(ask, "PATCH", "/keys/a", {"increment": 1}, owner),
            ask("PUT", "/keys/a", b"x", {"If-Match": '"0"', **owner}),
            ask_json(ask, "PUT", "/keys", {"b": [SECRET]}, owner),
        ):
            assert 400 <= answer.status < 500
            assert SECRET not in answer.body.decode()


class TestApi4UnrestrictedResourceConsumption:
    @pytest.mark.parametrize(
        ("method", "target", "body", "status"),
        [
            ("PUT", "/keys/" + "k" * 1_025, b"x", 400),
            ("PUT", "/keys/a", b"x" * (MAX_VALUE_BYTES + 1), 413),
            ("PUT", "/keys", b"a=" + b"x" * 2_000_000, 413),
            ("PUT", "/keys", b"&".join(b"%d=" % number for number in range(131_073)), 413),
            ("GET", "/keys?limit=10001", b"", 400),
            ("GET", "/keys?filter=" + "$" * 5_000, b"", 400),
        ],
    )
    def test_what_is_too_large_is_refused_with_its_limit(
        self, ask: Ask, owner: Mapping[str, str], method: str, target: str, body: bytes, status: int
    ) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}

        answer = ask(method, target, body, {**form, **owner})

        assert answer.status == status
        assert re.search(r"[0-9],[0-9]{3}", answer.json["detail"])

    def test_a_transaction_has_a_limit(self, ask: Ask, owner: Mapping[str, str]) -> None:
        answer = ask_json(ask, "POST", "/keys", {"get": [str(number) for number in range(1_001)]}, owner)

        assert (answer.status, answer.json["limit"], answer.json["actual"]) == (413, 1_000, 1_001)


class TestApi5BrokenFunctionLevelAuthorization:
    def test_a_read_only_token_changes_nothing(self, ask: Ask, owner: Mapping[str, str], tokens: Tokens) -> None:
        ask("PUT", "/keys/a", b"1", owner)
        reader = bearer(tokens.create("reader", namespace="mine", scopes=["read"]))

        for method, target in (("PUT", "/keys?a=2"), ("PUT", "/keys/a"), ("DELETE", "/keys"), ("DELETE", "/keys/a")):
            assert ask(method, target, b"", reader).status == 403
        for body in ({"put": {"a": "2"}}, {"delete": ["a"]}, {"get": ["a"], "delete": ["a"]}):
            assert ask_json(ask, "POST", "/keys", body, reader).status == 403
        for change in ({"increment": 1}, {"append": "x"}, {"expire_in": 1}, {"expire_in": None}):
            assert ask_json(ask, "PATCH", "/keys/a", change, reader).status == 403

        assert ask("GET", "/keys", b"", owner).json == {"a": "1"}

    def test_a_method_cannot_be_named_in_another_way(self, ask: Ask, owner: Mapping[str, str], tokens: Tokens) -> None:
        ask("PUT", "/keys/a", b"1", owner)
        reader = bearer(tokens.create("reader", namespace="mine", scopes=["read"]))

        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            assert ask("GET", "/keys/a", b"", {name: "DELETE", **reader}).json == {"a": "1"}
        assert ask("get", "/keys/a", b"", owner).status in {200, 405}

        assert ask("GET", "/keys/a", b"", owner).json == {"a": "1"}


class TestApi7ServerSideRequestForgery:
    def test_no_request_makes_the_service_ask_another(
        self,
        ask: Ask,
        owner: Mapping[str, str],
        valkey_server: EmbeddedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked: list[object] = []
        connect = socket.socket.connect

        def noted(self: socket.socket, address: object) -> None:
            asked.append(address)
            connect(self, address)  # type: ignore[arg-type]  # whatever a caller gives

        monkeypatch.setattr(socket.socket, "connect", noted)
        url = "http://127.0.0.1:1/"

        for headers in (
            {"Host": "127.0.0.1:1"},
            {"X-Forwarded-Host": "127.0.0.1:1"},
            {"Referer": url},
            {"Origin": url},
        ):
            ask("PUT", f"/keys?url={url}", b"", {**headers, **owner})
            ask("GET", f"/keys/{url}", b"", {**headers, **owner})
            ask("GET", "/", b"", headers)

        # Only the store, to which it connects now.
        assert set(asked) == {str(valkey_server.data_dir / "valkey.sock")}


class TestApi8SecurityMisconfiguration:
    def test_it_listens_to_this_machine_only_unless_told_otherwise(self) -> None:
        assert str(Settings().bind) == "127.0.0.1:5000"

    @pytest.mark.parametrize(
        "target", ["/", "/docs", "/keys", "/keys/a", "/nothing", "/health/live", "/docs/docs.js", "//"]
    )
    def test_every_answer_has_the_security_headers(self, ask: Ask, owner: Mapping[str, str], target: str) -> None:
        for headers in ({}, owner, {**AS_TEXT, **owner}):
            answer = ask("GET", target, b"", headers)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert len(answer.headers.getlist("Content-Security-Policy")) == 1
            assert "unsafe" not in answer.headers["Content-Security-Policy"]

    @pytest.mark.parametrize(
        ("call", "cached"),
        [
            *(("GET /keys/missing", "no-store"), ("GET /nothing", "no-store"), ("PUT /keys/a", "no-store")),
            *(("GET /health/live", "no-store"), ("HEAD /health/ready", "no-store"), ("GET /keys?limit=x", "no-store")),
            *(
                ("GET /", "no-cache"),
                ("GET /openapi.json", "no-cache"),
                ("GET /swagger.json", "no-cache"),
                ("GET /docs/docs.js", "no-cache"),
            ),
            *(("GET /keys", "no-cache"), ("HEAD /keys", "no-cache")),
        ],
    )
    def test_every_answer_tells_caches_not_to_keep_it_or_to_ask_each_time(
        self, ask: Ask, owner: Mapping[str, str], call: str, cached: str
    ) -> None:
        method, target = call.split()

        answer = ask(method, target, b"", owner)

        assert answer.headers.getlist("Cache-Control") == [cached]

    @pytest.mark.parametrize("target", ["/", "/docs", "/openapi.json", "/swagger.json", "/docs/docs.js"])
    def test_the_documentation_is_sent_once_and_then_checked_by_its_etag(self, ask: Ask, target: str) -> None:
        tag = ask("GET", target).headers["ETag"]

        again = ask("GET", target, b"", {"If-None-Match": tag})

        assert (again.status, again.body) == (304, b"")

    def test_a_value_is_neither_guessed_at_nor_run(self, ask: Ask, owner: Mapping[str, str]) -> None:
        ask("PUT", "/keys/a", b"<script>alert(1)</script>", owner)

        answer = ask("GET", "/keys/a", b"", {**AS_TEXT, **owner})

        assert answer.headers["Content-Security-Policy"] == "sandbox"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("fault", [exceptions.ResponseError(SECRET), RuntimeError(SECRET)])
    def test_an_error_shows_neither_a_trace_nor_what_the_store_said(self, fault: Exception, contract: Contract) -> None:
        ask = in_process(create_app(Settings(), store=broken_store(fault)), contract)

        answer = ask("GET", "/keys/a")

        assert answer.status == 500
        assert SECRET not in answer.body.decode()
        assert "Traceback" not in answer.body.decode()

    def test_pages_of_other_origins_are_let_in_by_nothing_but_the_setting(self, ask: Ask) -> None:
        answer = ask("GET", "/health/live", b"", {"Origin": "https://evil.example"})

        assert not [name for name in answer.headers.keys() if name.startswith("Access-Control-")]  # noqa: SIM118  # pairs


class TestApi9ImproperInventoryManagement:
    def test_every_route_and_method_is_in_the_document(self, app: Flask, contract: Contract) -> None:
        documentation = {"/", "/docs", "/openapi.json", "/swagger.json", "/docs/<filename>"}
        served = {
            (re.sub(r"<key:key>", "{key}", rule.rule), method)
            for rule in app.url_map.iter_rules()
            if rule.rule not in documentation
            for method in (rule.methods or set()) - {"OPTIONS"}
        }

        assert served == {(path, method) for method, path in contract.operations}


def test_every_line_that_applies_has_its_tests_here_and_every_other_says_why_not() -> None:
    lines = dict(re.findall(r"^\| API(\d+) [^|]+\| (.+) \|$", ACCESS, re.MULTILINE))
    tested = {
        re.findall(r"\d+", name)[0]
        for name, _ in inspect.getmembers(sys.modules[__name__], inspect.isclass)
        if name.startswith("TestApi")
    }

    assert set(lines) == {str(number) for number in range(1, 11)}
    assert tested == {number for number, text in lines.items() if not text.startswith("does not apply")}


def test_the_limits_of_the_document_are_errors_that_exist() -> None:
    named = set(re.findall(r"\d{3} `(\w+)`", LIMITS))

    assert named <= KNOWN.keys()
    assert {"value_too_large", "body_too_large", "too_many_keys", "too_many_lists", "rate_limited"} <= named
