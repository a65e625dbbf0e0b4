"""The API on fakeredis: a few calls, for users whose own tests run on it."""

from typing import Any

import fakeredis
from redis.exceptions import NoScriptError

from api.app import create_app
from api.settings import Settings
from models.store import Store
from models.valkey.client import Client
from models.valkey.scripts import with_text
from tests.support.clients import JSON, in_process
from tests.support.contract import Contract


class FakedClient(Client):
    """A client whose server is faked: its connections take whole commands and no bytes."""

    def __init__(self) -> None:
        pool: Any = fakeredis.FakeRedis().connection_pool
        super().__init__(pool)

    def execute_with_run_id(self, *command: Any) -> tuple[str, Any]:
        connection = self.pool.get_connection()
        connection.send_command(*command)
        try:
            return "", connection.read_response()
        except NoScriptError:
            return self.execute_with_run_id(*with_text(command))
        finally:
            self.pool.release(connection)


def test_a_store_on_fakeredis_works(contract: Contract) -> None:
    app = create_app(Settings(), store=Store(FakedClient(), key_prefix="kv:", max_value_bytes=100))
    ask = in_process(app, contract)

    assert ask("PUT", "/keys?a=1&b=2&expire_in=60").json == {"stored": 2}
    assert ask("GET", "/keys/a").json == {"a": "1"}
    assert ask("PATCH", "/keys/a", b'{"increment": 41}', JSON).json == {"a": "42"}
    assert ask("GET", "/keys").json == {"a": "42", "b": "2"}
    assert ask("DELETE", "/keys/b").json == {"deleted": 1}
    assert ask("HEAD", "/keys").headers["Total-Count"] == "1"
