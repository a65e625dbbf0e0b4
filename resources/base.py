"""What all resources share."""

from collections.abc import Callable

from flask import current_app
from flask_restx import Resource

from models.store import Store
from resources.extensions import IS_STOPPING, STORE


class StoreResource(Resource):
    """A resource that works on the application's store."""

    @property
    def store(self) -> Store:
        """The one store of the current application."""
        store: Store = current_app.extensions[STORE]
        return store

    @property
    def is_stopping(self) -> bool:
        """Whether this worker finishes its last requests; a server that can tell puts the question there."""
        ask: Callable[[], bool] | None = current_app.extensions.get(IS_STOPPING)
        return ask is not None and ask()
