"""Errors have one shape, whatever raised them."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis import Redis, exceptions
from werkzeug.exceptions import HTTPException, default_exceptions

from api.app import create_app
from api.errors import PROBLEMS, RETRY_AFTER_SECONDS
from api.settings import Settings
from models import errors
from models.change import Change, Transaction
from models.filter import EVERY_KEY
from models.store import Store
from models.valkey.client import Client
from resources import errors as http
from tests.support.clients import Answer, in_process
from tests.support.contract import Contract
from tests.support.servers.stores import broken_store, store_of


def raising(error: Exception) -> Flask:
    """Make an application whose store raises an error of ours."""
    return create_app(Settings(), store=broken_store(error))


def leaves(root: type[Exception]) -> list[type[Exception]]:
    subclasses = root.__subclasses__()
    return [leaf for each in subclasses for leaf in leaves(each)] if subclasses else [root]


ROOTS = [errors.RequestError, errors.StoreError, errors.TokenError]
OURS = [*leaves(errors.RequestError), *leaves(errors.StoreError), errors.TokensUnusable]

# Every public method of the store, as one uses it.
OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.get("key"),
    "get_part": lambda store: store.get_part("key", 0, -1),
    "put": lambda store: store.put({"key": b""}),
    "put_one": lambda store: store.put_one("key", b""),
    "patch": lambda store: store.patch("key", Change(append=b"")),
    "transact": lambda store: store.transact(Transaction({}, ["key"], {}, [], None)),
    "export_records": lambda store: list(store.export_records(EVERY_KEY)),
    "page_of_records": lambda store: store.page_of_records(EVERY_KEY, cursor=0, limit=1),
    "import_records": lambda store: store.import_records([(b"key", b"", None)]),
    "delete": lambda store: store.delete("key"),
    "delete_matching": lambda store: store.delete_matching(EVERY_KEY),
    "count": lambda store: store.count(EVERY_KEY),
    "entries": lambda store: list(store.entries(EVERY_KEY)),
    "page": lambda store: store.page(EVERY_KEY, cursor=0, limit=1),
    "hit": lambda store: store.hit("counter", window_seconds=1),
    "ping": lambda store: store.ping(),
    "watch": lambda store: store.watch(EVERY_KEY),
}


class TestTheTable:
    @pytest.mark.parametrize("ours", OURS)
    def test_every_exception_of_ours_has_a_row(self, ours: type[Exception]) -> None:
        assert ours in PROBLEMS

    def test_every_row_is_an_exception_of_ours(self) -> None:
        assert set(PROBLEMS) == set(OURS)

    def test_codes_are_unique(self) -> None:
        codes = [problem.code for problem in PROBLEMS.values()]
        assert len(codes) == len(set(codes))

    @pytest.mark.parametrize("ours", OURS)
    def test_every_exception_becomes_its_answer(self, ours: type[Exception], contract: Contract) -> None:
        made: dict[type[Exception], Exception] = {
            errors.ValueTooLarge: errors.ValueTooLarge("text", 5),
            errors.ValuesTooLarge: errors.ValuesTooLarge("reads", 5, 6),
            errors.PreconditionFailed: errors.PreconditionFailed(["text"]),
            http.BodyTooLarge: http.BodyTooLarge(5),
            http.BodyTimeout: http.BodyTimeout(),
            http.CrossSiteRequest: http.CrossSiteRequest(),
            http.FilterRequired: http.FilterRequired(),
            http.MissingToken: http.MissingToken(),
            http.RangeNotSatisfiable: http.RangeNotSatisfiable(5),
            http.UnknownHost: http.UnknownHost(),
            errors.InsufficientScope: errors.InsufficientScope("text", ["read"]),
            http.TooManyBytes: http.TooManyBytes(5),
            http.TooManyLists: http.TooManyLists(5),
            http.TooManyWatchers: http.TooManyWatchers(5),
            errors.TokensUnusable: errors.TokensUnusable(),
        }
        error = made.get(ours) or ours("text")
        ask = in_process(raising(error), Contract({**contract.document, "paths": {}}))

        answer = ask("GET", "/keys/key")

        assert (answer.status, answer.code) == PROBLEMS[ours][:2]
        assert answer.json["detail"] == str(error)
        too_many = http.TooManyBytes | http.TooManyLists | http.TooManyWatchers
        passes = issubclass(ours, errors.StoreError | errors.TokensUnusable | too_many)
        assert answer.headers.get("Retry-After") == (str(RETRY_AFTER_SECONDS) if passes else None)
        assert ("WWW-Authenticate" in answer.headers) == (
            ours in {http.MissingToken, errors.InvalidToken, errors.InsufficientScope}
        )


class TestTheStore:
    def test_every_method_is_tried(self) -> None:
        public = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
        assert public - {"check", "within"} == set(OPERATIONS)  # these two ask nobody

    @pytest.mark.parametrize("method", OPERATIONS)
    @pytest.mark.parametrize(
        "theirs",
        [exceptions.ConnectionError("secret"), exceptions.TimeoutError("secret"), exceptions.ResponseError("secret")],
    )
    def test_no_method_lets_an_error_of_redis_py_through(
        self, method: str, theirs: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("models.watching.hub.START_SECONDS", 0.1)
        with pytest.raises(errors.StoreError) as caught:
            OPERATIONS[method](broken_store(theirs))
        assert "secret" not in str(caught.value)

    def test_a_deletion_that_fails_half_way_says_so(
        self, valkey_client: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = store_of(valkey_client)
        store.put({str(number): b"" for number in range(3_000)})
        execute, calls = Client.execute, []

        def unlink_once(client: Client, *command: Any) -> Any:
            calls.append(command[0])
            if calls.count("UNLINK") > 1:
                raise exceptions.ConnectionError
            return execute(client, *command)

        monkeypatch.setattr(Client, "execute", unlink_once)

        with pytest.raises(errors.OutcomeUnknown, match=r"after \d{3} keys were deleted"):
            store.delete_matching(EVERY_KEY)


class TestStatuses:
    def ask(
        self, contract: Contract, error: Exception, target: str = "/keys", method: str = "GET", **settings: Any
    ) -> Answer:
        app = create_app(Settings(**settings), store=broken_store(error))
        return in_process(app, Contract({**contract.document, "paths": {}}))(method, target)

    @pytest.mark.parametrize("target", ["/keys", "/keys?limit=1", "/keys/key", "/keys?values=false"])
    def test_a_store_that_is_down_is_500(self, contract: Contract, target: str) -> None:
        answer = self.ask(contract, exceptions.ConnectionError(), target)

        assert (answer.status, answer.code) == (500, "store_unavailable")

    def test_the_status_of_a_store_that_is_down_can_be_set(self, contract: Contract) -> None:
        answer = self.ask(contract, exceptions.ConnectionError(), unavailable_status=503)

        assert (answer.status, answer.json["status"]) == (503, 503)

    def test_readiness_is_503_and_liveness_200(self, contract: Contract) -> None:
        assert self.ask(contract, exceptions.ConnectionError(), "/health/ready").code == "not_ready"
        assert self.ask(contract, exceptions.ConnectionError(), "/health/ready").status == 503
        assert self.ask(contract, exceptions.ConnectionError(), "/health/live").status == 200

    def test_an_unforeseen_exception_is_500_without_its_text(
        self, contract: Contract, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = self.ask(contract, RuntimeError("secret"))

        assert (answer.status, answer.code) == (500, "internal_error")
        assert b"secret" not in answer.body
        [record] = [each for each in caplog.records if each.exc_info]
        assert record.levelno == logging.ERROR
        assert vars(record)["fields"]["request_id"] == answer.json["request_id"]

    def test_what_the_store_said_is_logged_and_not_sent(
        self, contract: Contract, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = self.ask(contract, exceptions.ResponseError("ERR backend words"))

        assert b"backend words" not in answer.body
        assert "store_fault: ERR backend words" in caplog.messages

    @pytest.mark.parametrize("theirs", default_exceptions.values(), ids=lambda theirs: theirs.__name__)
    def test_every_http_exception_has_the_one_shape(self, contract: Contract, theirs: type[HTTPException]) -> None:
        error: Any = theirs

        answer = self.ask(contract, error())

        assert answer.status == theirs.code
        assert answer.json["status"] == theirs.code
