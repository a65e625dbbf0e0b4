"""The door to redis-py: what is repeated, what is not, and what its errors become."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis
from redis import Redis, exceptions

from api.serving.embedded import EmbeddedServer
from models import errors
from models.change import EXISTS, Change, Transaction
from models.filter import EVERY_KEY
from models.store import Store
from models.valkey.client import Client
from models.valkey.connection import ALONE, SECOND_TRY_SECONDS, connect, read, write
from models.valkey.redis_errors import translated
from tests.support.servers.proxy import LOST as LOST_ANSWER
from tests.support.servers.proxy import Fault, Proxy, Then, proxy_to


class Command:
    """A command that fails with the given errors, one each time, and then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


LOST = exceptions.ConnectionError("Connection closed by server.")
BY_TEXT = {
    "WRONGTYPE Operation against a key holding the wrong kind of value": errors.WrongType,
    "OOM command not allowed when used memory > 'maxmemory'.": errors.StoreFull,
    "MISCONF Errors writing to the AOF file: No space left on device": errors.StoreReadOnly,
    "READONLY You can't write against a read only replica.": errors.StoreReadOnly,
    "NOREPLICAS Not enough good replicas to write.": errors.StoreReadOnly,
    "NOPERM this user has no permissions": errors.StoreDenied,
    "ACL failure in script: User flaskvstore has no permissions to run": errors.StoreDenied,
    "The user executing the script can't run this command or subcommand": errors.StoreDenied,
    "NOAUTH Authentication required.": errors.StoreDenied,
    "Error running script (call to f_7c4a): @user_script:1: The user executing the script can't": errors.StoreDenied,
    "BUSY Redis is busy running a script.": errors.StoreTimeout,
    "Error running script (call to f_7c4a): @user_script:1: WRONGTYPE Operation against": errors.WrongType,
    "Error running script (call to f_7c4a): @user_script: 12: -OOM command not allowed": errors.StoreFull,
    "Transaction discarded because of: NOPERM User flaskvstore has no permissions to run": errors.StoreDenied,
    "ERR unknown command": errors.StoreFault,
    "": errors.StoreFault,
}
EXPECTED = {
    exceptions.ConnectionError: errors.StoreUnavailable,
    exceptions.TimeoutError: errors.StoreTimeout,
    exceptions.BusyLoadingError: errors.StoreLoading,
    exceptions.AuthenticationError: errors.StoreDenied,
    exceptions.AuthorizationError: errors.StoreDenied,
    exceptions.AuthenticationWrongNumberOfArgsError: errors.StoreDenied,
    exceptions.ExternalAuthProviderError: errors.StoreDenied,
    exceptions.NoPermissionError: errors.StoreDenied,
    exceptions.MaxConnectionsError: errors.StoreSaturated,
    exceptions.OutOfMemoryError: errors.StoreFull,
    exceptions.ReadOnlyError: errors.StoreReadOnly,
    exceptions.ClusterDownError: errors.StoreUnavailable,
    exceptions.MasterDownError: errors.StoreUnavailable,
    exceptions.TryAgainError: errors.StoreUnavailable,
}


def every_redis_error() -> list[type[exceptions.RedisError]]:
    found = [each for _, each in inspect.getmembers(exceptions, inspect.isclass)]
    return [each for each in found if issubclass(each, exceptions.RedisError)]


def instance(of: type[exceptions.RedisError], text: str = "text") -> exceptions.RedisError:
    """Make an exception without its constructor, which some of redis-py's want arguments for."""
    error = of.__new__(of)
    error.args = (text,)
    return error


class TestTranslation:
    @pytest.mark.parametrize("theirs", every_redis_error())
    def test_every_error_of_redis_py_becomes_the_one_of_ours_that_is_meant(
        self, theirs: type[exceptions.RedisError]
    ) -> None:
        assert type(translated(instance(theirs))) is EXPECTED.get(theirs, errors.StoreFault)

    @pytest.mark.parametrize(("text", "ours"), BY_TEXT.items())
    def test_errors_without_a_class_are_told_apart_by_their_first_word(self, text: str, ours: type[Exception]) -> None:
        assert type(translated(exceptions.ResponseError(text))) is ours

    @pytest.mark.parametrize("call", [read, write])
    def test_the_text_of_the_server_is_not_passed_on(self, call: Callable[..., str]) -> None:
        with pytest.raises(errors.StoreFault) as caught:
            call(Command(exceptions.ResponseError("ERR secret")))

        assert "secret" not in str(caught.value)
        assert "secret" in str(caught.value.__cause__)


class TestRepetition:
    def test_a_read_that_loses_its_connection_is_sent_once_more(self) -> None:
        command = Command(LOST)

        assert read(command) == "done"
        assert command.calls == 2

    def test_a_read_is_sent_twice_at_most(self) -> None:
        command = Command(LOST, LOST)

        with pytest.raises(errors.StoreUnavailable):
            read(command)
        assert command.calls == 2

    @pytest.mark.parametrize(
        "failure", [exceptions.TimeoutError(), exceptions.BusyLoadingError(), exceptions.ResponseError()]
    )
    def test_a_read_that_fails_otherwise_is_not_repeated(self, failure: Exception) -> None:
        command = Command(failure)

        with pytest.raises(errors.StoreError):
            read(command)
        assert command.calls == 1

    @pytest.mark.parametrize("failure", [LOST, exceptions.TimeoutError(), exceptions.InvalidResponse()])
    def test_a_write_is_never_repeated_and_says_that_its_outcome_is_unknown(self, failure: Exception) -> None:
        command = Command(failure)

        with pytest.raises(errors.OutcomeUnknown):
            write(command)
        assert command.calls == 1

    @pytest.mark.parametrize(
        ("failure", "ours"),
        [
            (exceptions.OutOfMemoryError(), errors.StoreFull),
            (exceptions.BusyLoadingError(), errors.StoreLoading),
            (exceptions.ClusterDownError("CLUSTERDOWN"), errors.StoreUnavailable),
            (exceptions.ResponseError("BUSY"), errors.StoreTimeout),
        ],
    )
    def test_a_write_that_was_refused_says_why(self, failure: Exception, ours: type[Exception]) -> None:
        with pytest.raises(ours) as caught:
            write(Command(failure))
        assert type(caught.value) is ours


CALLS: dict[str, Callable[[Store], object]] = {
    "a read": lambda store: store.get("a"),
    "a write": lambda store: store.put_one("a", b"1"),
    "a count": lambda store: store.count(EVERY_KEY),
    "a list": lambda store: list(store.entries(EVERY_KEY)),
    "a page": lambda store: store.page(EVERY_KEY, cursor=0, limit=1),
    "an export": lambda store: list(store.export_records(EVERY_KEY)),
    "a deletion of all that match": lambda store: store.delete_matching(EVERY_KEY),
}


# What names one key, so that a server can do it at once.
ONE_STEP: dict[str, Callable[[Store], object]] = {
    "a read": lambda store: store.get("a"),
    "a write": lambda store: store.put_one("a", b"1"),
    "a write that expires": lambda store: store.put_one("a", b"1", expire_in=60),
    "a write on a condition": lambda store: store.put_one("a", b"1", condition=EXISTS),
    "writes": lambda store: store.put({"a": b"1"}),
    "writes that expire": lambda store: store.put({"a": b"1"}, expire_in=60),
    "writes on a condition": lambda store: store.put({"a": b"1"}, condition=EXISTS),
    "a change": lambda store: store.patch("a", Change(increment=1)),
    "an import": lambda store: store.import_records([(b"a", b"1", None)]),
    "a deletion": lambda store: store.delete("a"),
    "a deletion on a condition": lambda store: store.delete("a", condition=EXISTS),
    "a transaction that reads": lambda store: store.transact(Transaction({}, ["a"], {}, [], None)),
    "a transaction that writes": lambda store: store.transact(Transaction({}, [], {"a": b"1"}, [], None)),
    "a transaction": lambda store: store.transact(Transaction({"a": EXISTS}, ["a"], {"a": b"1"}, [], 60)),
    "a hit": lambda store: store.hit("a", window_seconds=60),
}


class TestOnTheWay:
    """What goes to a real server and back."""

    @pytest.fixture
    def proxy(self, valkey_server: EmbeddedServer, valkey_client: Redis) -> Iterator[Proxy]:
        valkey_client.set("kv:a", "1")
        with proxy_to(str(valkey_server.data_dir / "valkey.sock")) as running:
            yield running

    @pytest.fixture
    def store(self, proxy: Proxy) -> Iterator[Store]:
        """A store with a single connection."""
        url = f"redis://127.0.0.1:{proxy.port}"
        with closing(connect(url, timeout_seconds=5, max_connections=1)) as client:
            yield Store(client, key_prefix="kv:", max_value_bytes=100)

    @pytest.mark.parametrize("call", ONE_STEP.values(), ids=ONE_STEP.keys())
    def test_what_names_one_key_takes_one_round_trip(
        self, proxy: Proxy, store: Store, valkey_client: Redis, call: Callable[[Store], object]
    ) -> None:
        call(store)  # which opens the connection, and tells the server the script
        valkey_client.set("kv:a", "1")

        with proxy.failing(Fault(Then.PASS)):
            call(store)

        assert proxy.struck == 1

    @pytest.mark.parametrize("command", [b"GET", b"SET", b"SCAN", b"TIME", b"UNLINK"])
    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    def test_a_call_that_fails_gives_its_connection_back(
        self, proxy: Proxy, store: Store, call: Callable[[Store], object], command: bytes
    ) -> None:
        with proxy.failing(LOST_ANSWER, command):
            for _ in range(2):
                with contextlib.suppress(errors.StoreUnavailable, errors.OutcomeUnknown):
                    call(store)

        store.ping()

    def test_a_read_that_loses_its_connection_late_is_not_repeated(self, proxy: Proxy, store: Store) -> None:
        late = Fault(Then.CUT, kept_bytes=0, delay_seconds=SECOND_TRY_SECONDS + 0.1)

        with proxy.failing(late, b"kv:a"), pytest.raises(errors.StoreUnavailable):
            store.get("a")

        assert proxy.struck == 1


class TestConnecting:
    @pytest.mark.parametrize("call", [read, write])
    def test_a_server_that_is_not_there_is_unavailable_and_nothing_was_sent(self, call: Callable[..., str]) -> None:
        client = connect("redis://127.0.0.1:1", timeout_seconds=1, max_connections=1)

        with pytest.raises(errors.StoreUnavailable):
            call(client.execute, "GET", "key")

    def test_a_pool_without_a_free_connection_is_saturated_and_tells_how_long_it_was_waited_for(
        self, valkey_server: EmbeddedServer
    ) -> None:
        waits: list[float] = []
        client = connect(valkey_server.url, timeout_seconds=1, max_connections=1, on_wait=waits.append)
        assert isinstance(client, Client)
        taken = client.pool.get_connection()

        with pytest.raises(errors.StoreSaturated):
            read(client.execute, "GET", "key")

        client.pool.release(taken)
        assert read(client.execute, "GET", "nothing") is None
        [waited_seconds] = waits
        assert waited_seconds > ALONE.pool / 2
        client.close()

    @pytest.mark.parametrize("call", [read, write])
    def test_a_connection_that_the_server_has_closed_is_replaced(
        self, valkey_server: EmbeddedServer, call: Callable[..., str]
    ) -> None:
        client = connect(valkey_server.url, timeout_seconds=1, max_connections=1)
        read(client.execute, "GET", "key")
        other = redis.Redis.from_url(valkey_server.url)
        other.client_kill_filter(_type="normal", skipme=True)

        assert call(client.execute, "SET", "key", "value")
        other.close()
        client.close()

    def test_a_wrong_password_is_denied(self, valkey_server: EmbeddedServer) -> None:
        url = valkey_server.url.replace("unix://", "unix://user:wrong@")
        client = connect(url, timeout_seconds=1, max_connections=1)

        with pytest.raises(errors.StoreDenied):
            read(client.execute, "GET", "key")
        client.close()

    def test_a_connection_costs_two_commands(self, valkey_server: EmbeddedServer) -> None:
        with redis.Redis.from_url(valkey_server.url) as other:
            other.config_resetstat()
            client = connect(valkey_server.url, timeout_seconds=1, max_connections=1)

            read(client.execute, "GET", "key")

            calls = {name: entry["calls"] for name, entry in other.info("commandstats").items()}
            client.close()
        assert calls["cmdstat_hello"] == 1
        assert calls["cmdstat_info"] == 1
        assert set(calls) <= {"cmdstat_hello", "cmdstat_get", "cmdstat_info", "cmdstat_config|resetstat"}
