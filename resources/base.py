"""What all resources share."""

from flask import current_app
from flask_restx import Resource

from models.store import Store


EXTENSION = "flaskvstore"


class StoreResource(Resource):
    """A resource that works on the application's store."""

    @property
    def store(self) -> Store:
        """The one store of the current application."""
        store: Store = current_app.extensions[EXTENSION]
        return store
