"""Tokens over HTTP: who gets in, and what each sees and may do."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask
from redis import Redis

from models.errors import InvalidToken, TokensUnusable
from models.store import Store
from models.tokens import SCOPES, Tokens
from tests.support.cases import KEYS
from tests.support.clients import (
    AS_NDJSON,
    AS_TEXT,
    JSON,
    NDJSON,
    Ask,
    bearer,
    in_process,
    pages,
    put_json,
    target_of,
    with_token,
)
from tests.support.contract import Contract
from tests.support.servers.services import Service, eventually, serving
from tests.support.wire import Wire


# That of the value "1".
TAG = '"356a192b7913b04c54574d18c28d46e6395428ab"'
# Every call of the contract, with what it needs; each would succeed with all scopes on {"a": "1", "b": "2"}.
CALLS: dict[str, tuple[str, str, bytes, Mapping[str, str], set[str]]] = {
    "list": ("GET", "/keys", b"", {}, {"read"}),
    "page": ("GET", "/keys?limit=1", b"", {}, {"read"}),
    "export": ("GET", "/keys", b"", AS_NDJSON, {"read"}),
    "count": ("HEAD", "/keys", b"", {}, {"read"}),
    "store pairs": ("PUT", "/keys?c=3", b"", {}, {"write"}),
    "import": ("PUT", "/keys", b'{"key": "c", "value": "3"}\n', NDJSON, {"write"}),
    "delete all": ("DELETE", "/keys", b"", {}, {"delete"}),
    "delete some": ("DELETE", "/keys?filter=a", b"", {}, {"delete"}),
    "read one": ("GET", "/keys/a", b"", {}, {"read"}),
    "read bytes": ("GET", "/keys/a", b"", AS_TEXT, {"read"}),
    "check one": ("HEAD", "/keys/a", b"", {}, {"read"}),
    "store one": ("PUT", "/keys/a", b"x", {}, {"write"}),
    "create one": ("PUT", "/keys/c", b"x", {"If-None-Match": "*"}, {"write"}),
    "update one": ("PUT", "/keys/a", b"x", {"If-Match": "*"}, {"write"}),
    "store one by tag": ("PUT", "/keys/a", b"x", {"If-Match": TAG}, {"read", "write"}),
    "store one but for a tag": ("PUT", "/keys/c", b"x", {"If-None-Match": TAG}, {"read", "write"}),
    "increment": ("PATCH", "/keys/a", b'{"increment": 1}', JSON, {"read", "write"}),
    "read the token": ("GET", "/token", b"", {}, set()),
    "check the token": ("HEAD", "/token", b"", {}, set()),
    "delete one": ("DELETE", "/keys/a", b"", {}, {"delete"}),
    "delete one that exists": ("DELETE", "/keys/a", b"", {"If-Match": "*"}, {"delete"}),
    "delete one by tag": ("DELETE", "/keys/a", b"", {"If-Match": TAG}, {"read", "delete"}),
    "transaction that reads": ("POST", "/keys", b'{"get": ["a"]}', JSON, {"read"}),
    "transaction that checks": ("POST", "/keys", b'{"if": {"a": "*"}}', JSON, {"read"}),
    "transaction that writes": ("POST", "/keys", b'{"put": {"c": "3"}}', JSON, {"write"}),
    "transaction that creates": (
        *("POST", "/keys", b'{"if": {"a": "*", "c": null}, "put": {"c": "3"}}', JSON),
        {"write"},
    ),
    "transaction that compares": (
        *("POST", "/keys", json.dumps({"if": {"a": TAG}, "put": {"c": "3"}}).encode(), JSON),
        {"read", "write"},
    ),
    "transaction that deletes": ("POST", "/keys", b'{"delete": ["a"]}', JSON, {"delete"}),
    "transaction that does all": (
        *("POST", "/keys", b'{"if": {"a": "*"}, "get": ["a"], "put": {"c": "3"}, "delete": ["b"]}', JSON),
        {"read", "write", "delete"},
    ),
}
CALLS |= {
    f"{name} at /values": (method, target.replace("/keys/", "/values/"), body, headers, needed)
    for name, (method, target, body, headers, needed) in CALLS.items()
    if "/keys/" in target
}
KEY_ROUTES = ("/keys", "/values", "/token")
# Everything else of the service, which is open.
OPEN = [
    "/",
    "/docs",
    "/openapi.json",
    "/swagger.json",
    "/docs/docs.js",
    "/docs/swagger-ui.css",
    "/health/live",
    "/health/ready",
]


@pytest.fixture(scope="module")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access") / "tokens.json"


@pytest.fixture
def tokens(tokens_file: Path) -> Tokens:
    tokens_file.unlink(missing_ok=True)
    return Tokens(tokens_file)


@pytest.fixture
def app(app_with: Callable[..., Flask], tokens: Tokens, tokens_file: Path) -> Flask:
    tokens.create("unused", namespace="unused", scopes=["read"])
    return app_with(tokens_file=tokens_file)


@pytest.fixture
def anyone(app: Flask, contract: Contract) -> Ask:
    """Ask without a token."""
    return in_process(app, contract)


@pytest.fixture
def owner(anyone: Ask, tokens: Tokens) -> Ask:
    """Ask with every scope in the namespace ``mine``, which has two keys."""
    ask = with_token(anyone, tokens.create("owner", namespace="mine", scopes=SCOPES))
    put_json(ask, {"a": "1", "b": "2"})
    return ask


@pytest.fixture
def stranger(anyone: Ask, tokens: Tokens) -> Ask:
    """Ask with every scope in another namespace, which has keys of the same names."""
    ask = with_token(anyone, tokens.create("stranger", namespace="theirs", scopes=SCOPES))
    put_json(ask, {"a": "theirs", "only theirs": "x"})
    return ask


def everything(client: Redis) -> dict[Any, Any]:
    """Give what the server holds."""
    return {name: client.get(name) for name in client.scan_iter()}


@pytest.fixture
def backend() -> str:
    return "valkey"


class TestEveryCall:
    @pytest.mark.parametrize("call", CALLS)
    def test_without_a_token_it_is_401_and_changes_nothing(
        self, anyone: Ask, owner: Ask, client: Redis, call: str
    ) -> None:
        method, target, body, headers, _ = CALLS[call]
        before = everything(client)

        answer = anyone(method, target, body, headers)

        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="flaskvstore"'
        assert everything(client) == before

    @pytest.mark.parametrize("call", CALLS)
    def test_with_just_what_it_needs_it_succeeds(self, anyone: Ask, owner: Ask, tokens: Tokens, call: str) -> None:
        method, target, body, headers, needed = CALLS[call]
        ask = with_token(anyone, tokens.create("exact", namespace="mine", scopes=needed))

        assert ask(method, target, body, headers).status == 200

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("missing", SCOPES)
    def test_without_one_of_the_scopes_it_needs_it_is_403_and_changes_nothing(
        self, anyone: Ask, owner: Ask, client: Redis, tokens: Tokens, call: str, missing: str
    ) -> None:
        method, target, body, headers, needed = CALLS[call]
        ask = with_token(anyone, tokens.create("less", namespace="mine", scopes=set(SCOPES) - {missing}))
        before = everything(client)

        answer = ask(method, target, body, headers)

        if missing not in needed:
            assert answer.status == 200
            return
        assert answer.status == 403
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="flaskvstore", error="insufficient_scope"'
        if method != "HEAD":
            assert answer.code == "insufficient_scope"
            assert answer.json["scopes"] == [missing]
        assert everything(client) == before

    @pytest.mark.parametrize("call", CALLS)
    def test_with_a_read_only_token_nothing_changes(
        self, anyone: Ask, owner: Ask, client: Redis, tokens: Tokens, call: str
    ) -> None:
        method, target, body, headers, needed = CALLS[call]
        reader = with_token(anyone, tokens.create("reader", namespace="mine", scopes=["read"]))
        before = everything(client)

        answer = reader(method, target, body, headers)

        assert answer.status == (200 if needed <= {"read"} else 403)
        assert everything(client) == before

    @pytest.mark.parametrize("call", CALLS)
    def test_with_another_namespaces_token_the_keys_of_this_one_are_neither_shown_nor_changed(
        self, owner: Ask, stranger: Ask, client: Redis, call: str
    ) -> None:
        method, target, body, headers, _ = CALLS[call]
        before = {name: value for name, value in everything(client).items() if name.startswith(b"kv:mine:")}
        assert before == {b"kv:mine:a": b"1", b"kv:mine:b": b"2"}

        answer = stranger(method, target, body, headers)

        assert {name: value for name, value in everything(client).items() if name.startswith(b"kv:mine:")} == before
        assert b'"1"' not in answer.body
        assert b'"b"' not in answer.body

    def test_there_is_a_case_for_every_method_of_every_route(self, app: Flask) -> None:
        declared = {
            (method, rule.rule.replace("<key:key>", "a"))
            for rule in app.url_map.iter_rules()
            if rule.rule.startswith(KEY_ROUTES)
            for method in rule.methods or ()
            if method != "OPTIONS"
        }

        assert declared == {
            (method, target.partition("?")[0].replace("/c", "/a")) for method, target, *_ in CALLS.values()
        }

    def test_every_other_route_is_open_and_known(self, app: Flask, anyone: Ask) -> None:
        rules = {rule.rule for rule in app.url_map.iter_rules() if not rule.rule.startswith(KEY_ROUTES)}

        assert rules == {
            "/",
            "/docs",
            "/openapi.json",
            "/swagger.json",
            "/docs/<filename>",
            "/health/live",
            "/health/ready",
        }
        for target in OPEN:
            assert anyone("GET", target).status == 200

    @pytest.mark.parametrize(
        ("target", "status"), [("/nothing", 404), ("/docs/swagger-ui.js", 404), ("/keys/", 404), ("/keys", 405)]
    )
    def test_what_does_not_exist_does_not_ask_for_a_token(self, anyone: Ask, target: str, status: int) -> None:
        assert anyone("TRACE" if status == 405 else "GET", target).status == status

    def test_the_methods_of_a_url_are_told_to_everybody(self, anyone: Ask) -> None:
        assert anyone("OPTIONS", "/keys").status == 200


class TestNamespace:
    def test_keys_have_plain_names_there(self, owner: Ask, client: Redis) -> None:
        assert owner("GET", "/keys").json == {"a": "1", "b": "2"}
        assert owner("HEAD", "/keys").headers["Total-Count"] == "2"
        assert set(everything(client)) == {b"kv:mine:a", b"kv:mine:b"}

    @pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
    def test_any_key_is_one_of_this_namespace(self, owner: Ask, stranger: Ask, key: str) -> None:
        assert owner("PUT", target_of(key), b"mine").status == 200
        if key not in {"a", "only theirs"}:
            assert stranger("GET", target_of(key)).status == 404

        assert owner("GET", target_of(key)).json == {key: "mine"}

    def test_a_name_that_looks_like_a_way_out_is_a_name(self, owner: Ask, stranger: Ask) -> None:
        for key in ("../theirs:a", "theirs:a", "kv:theirs:a", ":a", "..", "\0a"):
            assert owner("GET", target_of(key)).status == 404
        for pattern, found in {"$": {"a", "b"}, "$a": {"a"}, "kv:$": set(), "theirs$": set(), "../$": set()}.items():
            assert set(owner("GET", f"/keys?filter={pattern}").json) == found

    def test_deleting_all_wipes_this_namespace_only(self, owner: Ask, stranger: Ask) -> None:
        assert owner("DELETE", "/keys").json == {"deleted": 2}

        assert stranger("GET", "/keys").json == {"a": "theirs", "only theirs": "x"}

    def test_a_namespace_whose_name_starts_with_that_of_another_is_another(self, anyone: Ask, tokens: Tokens) -> None:
        longer = with_token(anyone, tokens.create("longer", namespace="mine.too", scopes=SCOPES))
        shorter = with_token(anyone, tokens.create("shorter", namespace="mine", scopes=SCOPES))
        longer("PUT", "/keys?x=1")

        assert shorter("GET", "/keys").json == {}
        assert shorter("DELETE", "/keys").json == {"deleted": 0}
        assert longer("GET", "/keys").json == {"x": "1"}

    def test_pages_and_exports_are_of_this_namespace(self, owner: Ask, stranger: Ask) -> None:
        put_json(owner, {f"key {number}": "mine" for number in range(300)})
        put_json(stranger, {f"key {number}": "theirs" for number in range(300)})

        collected = {key: value for page in pages(owner, "/keys?limit=50") for key, value in page.items()}
        exported = owner("GET", "/keys", b"", AS_NDJSON).body

        assert collected == {"a": "1", "b": "2", **{f"key {number}": "mine" for number in range(300)}}
        assert len(exported.splitlines()) == 302 + 1
        assert b"theirs" not in exported

    def test_two_tokens_can_share_one(self, anyone: Ask, owner: Ask, tokens: Tokens) -> None:
        reader = with_token(anyone, tokens.create("reader", namespace="mine", scopes=["read"]))

        assert reader("GET", "/keys").json == owner("GET", "/keys").json


class TestHeader:
    @pytest.mark.parametrize(
        "value", ["", "Bearer", "Bearer ", "Basic {}", "{}", "bearer: {}", "Token {}", "Bearer\xa0{}"]
    )
    def test_anything_but_a_bearer_token_is_401(self, anyone: Ask, tokens: Tokens, value: str) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        answer = anyone("GET", "/keys", b"", {"Authorization": value.format(presented)})

        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert presented.encode() not in answer.body

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_the_scheme_has_no_case(self, anyone: Ask, tokens: Tokens, scheme: str) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])

        assert anyone("GET", "/keys", b"", {"Authorization": f"{scheme} {presented}"}).status == 200

    def test_a_wrong_token_is_told_so(self, anyone: Ask) -> None:
        answer = anyone("GET", "/keys", b"", {"Authorization": "Bearer fkv_unused_" + "0" * 64})

        assert (answer.status, answer.code) == (401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="flaskvstore", error="invalid_token"'

    @pytest.mark.parametrize("name", ["access_token", "token", "_token", "Authorization"])
    def test_a_token_in_the_query_string_opens_nothing(self, anyone: Ask, tokens: Tokens, name: str) -> None:
        presented = tokens.create("a", namespace="ns", scopes=SCOPES)

        for method in ("GET", "PUT", "DELETE"):
            answer = anyone(method, f"/keys?{name}={presented}")
            assert answer.status == 401
            assert presented.encode() not in answer.body

    def test_a_wrong_request_of_a_stranger_is_401_and_not_400(self, anyone: Ask) -> None:
        for method, target in (
            ("GET", "/keys?nonsense=1"),
            ("PUT", "/keys"),
            ("DELETE", "/keys?filter="),
            ("POST", "/keys"),
        ):
            assert anyone(method, target).status == 401


class TestLog:
    def test_a_line_has_the_tokens_name_and_never_the_token(
        self, anyone: Ask, tokens: Tokens, caplog: pytest.LogCaptureFixture
    ) -> None:
        presented = tokens.create("shop", namespace="ns", scopes=["read"])
        caplog.set_level("DEBUG")

        for target in ("/keys", "/keys/a", f"/keys/{presented}", f"/keys?token={presented}"):
            with_token(anyone, presented)("GET", target)
        with_token(anyone, presented + "0")("GET", "/keys")

        lines = [vars(record).get("fields", {}) for record in caplog.records]
        assert [line["token"] for line in lines] == ["shop"] * 4 + [None]
        assert presented not in caplog.text
        assert presented not in json.dumps(lines)


class TestRevoking:
    @pytest.mark.parametrize("headers", [{}, AS_NDJSON])
    @pytest.mark.parametrize("how", ["revoked", "with fewer scopes", "broken"])
    def test_a_list_that_is_being_sent_breaks_off(
        self, app: Flask, store: Store, tokens: Tokens, tokens_file: Path, headers: Mapping[str, str], how: str
    ) -> None:
        presented = tokens.create("a", namespace="ns", scopes=["read"])
        store.within("ns").put({f"key {number}": b"v" * 1_000 for number in range(3_000)})
        with app.test_client() as caller:
            chunks = iter(caller.get("/keys", headers={**bearer(presented), **headers}, buffered=False).response)
            next(chunks)

            match how:
                case "revoked":
                    tokens.revoke("a")
                case "with fewer scopes":
                    tokens.revoke("a")
                    tokens.create("a", namespace="ns", scopes=["write"])
                case "broken":
                    tokens_file.write_text("")

            with pytest.raises(TokensUnusable if how == "broken" else InvalidToken):
                list(chunks)


class TestFileInUse:
    def test_a_token_opens_as_soon_as_it_is_made_and_no_longer_when_it_is_revoked(
        self, anyone: Ask, tokens: Tokens
    ) -> None:
        ask = with_token(anyone, tokens.create("a", namespace="ns", scopes=["read"]))
        assert ask("GET", "/keys").status == 200

        tokens.revoke("a")

        assert ask("GET", "/keys").status == 401

    @pytest.mark.parametrize("how", ["broken", "gone", "open to others", "empty"])
    def test_a_broken_file_lets_nobody_in(
        self, anyone: Ask, owner: Ask, tokens_file: Path, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        match how:
            case "broken":
                tokens_file.write_text('{"tokens": [')
            case "gone":
                tokens_file.unlink()
            case "open to others":
                tokens_file.chmod(0o644)
            case "empty":
                tokens_file.write_text("")

        answer = owner("GET", "/keys")

        assert (answer.status, answer.code) == (500, "tokens_unusable")
        assert answer.headers["Retry-After"] == "1"
        assert str(tokens_file) not in answer.body.decode()
        assert "tokens_unusable: " in caplog.text
        assert anyone("GET", "/keys").status == 401
        assert anyone("GET", "/health/live").status == 200

    def test_a_file_without_tokens_lets_nobody_in(self, anyone: Ask, owner: Ask, tokens_file: Path) -> None:
        tokens_file.write_text('{"tokens": []}')

        assert owner("GET", "/keys").status == 401


class TestDocuments:
    def test_operations_on_keys_want_a_token_and_others_do_not(self, anyone: Ask) -> None:
        swagger, openapi = anyone("GET", "/swagger.json").json, anyone("GET", "/openapi.json").json

        assert swagger["securityDefinitions"]["token"]["in"] == "header"
        assert openapi["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
        assert swagger["security"] == openapi["security"] == [{"token": []}]
        for (method, path), operation in Contract(openapi).operations.items():
            assert operation.get("security") == ([] if path.startswith("/health") else None), (method, path)

    def test_an_open_service_says_that_it_wants_none(self, contract: Contract) -> None:
        assert contract.document["security"] == []
        assert "securitySchemes" not in contract.document["components"]


class Guarded(NamedTuple):
    """A running service with tokens."""

    service: Service
    tokens: Tokens


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    tokens = Tokens(folder / "tokens.json")
    tokens.create("unused", namespace="unused", scopes=["read"])
    with serving(folder, "--workers", "2", "--tokens-file", str(folder / "tokens.json")) as service:
        yield Guarded(service, tokens)


class TestService:
    @pytest.mark.parametrize("call", CALLS)
    def test_every_call_is_refused_to_strangers_and_served_to_its_owner(
        self, guarded: Guarded, contract: Contract, call: str
    ) -> None:
        service, tokens = guarded
        anyone = service.ask(contract)
        name = "".join(filter(str.isalpha, call))
        ask = with_token(anyone, tokens.create(name, namespace=name, scopes=SCOPES))
        method, target, body, headers, _ = CALLS[call]
        put_json(ask, {"a": "1", "b": "2"})

        assert anyone(method, target, body, headers).status == 401
        assert ask(method, target, body, headers).status == 200

    def test_every_worker_sees_a_change_with_the_next_request(self, guarded: Guarded, contract: Contract) -> None:
        service, tokens = guarded
        for number in range(5):
            ask = with_token(service.ask(contract), tokens.create("short", namespace=f"n{number}", scopes=["read"]))
            assert {ask("GET", "/keys").status for _ in range(8)} == {200}
            tokens.revoke("short")
            assert {ask("GET", "/keys").status for _ in range(8)} == {401}

    def test_an_import_that_is_open_ends_when_its_token_is_revoked(self, guarded: Guarded, contract: Contract) -> None:
        service, tokens = guarded
        presented = tokens.create("importer", namespace="imported", scopes=["write"])
        reader = with_token(service.ask(contract), tokens.create("reader", namespace="imported", scopes=["read"]))
        record = b'{"key": "a", "value": "1"}\n'

        with Wire(service.port) as wire:
            wire.begin("PUT", "/keys", {**NDJSON, **bearer(presented), "Transfer-Encoding": "chunked"})
            # More than is read at once.
            part = record * 5_000
            wire.send(b"%x\r\n%b\r\n" % (len(part), part))
            eventually(lambda: reader("HEAD", "/keys").headers["Total-Count"] == "1")
            tokens.revoke("importer")
            wire.send(b"%x\r\n%b\r\n" % (len(part), part))
            answer = wire.answer()

        assert (answer.status, answer.code) == (401, "invalid_token")
        assert re.search(r"no longer valid\. [1-9][\d,]* records are stored\.", answer.json["detail"])

    def test_no_token_is_in_its_log(self, guarded: Guarded, contract: Contract) -> None:
        service, tokens = guarded
        presented = tokens.create("logged", namespace="ns", scopes=["read"])

        with_token(service.ask(contract), presented)("GET", "/keys")

        assert '"token":"logged"' in service.log.read_text()
        assert presented.rpartition("_")[2] not in service.log.read_text()
