"""The Swagger document and its page, from what the resources declare."""

from importlib.metadata import version
from typing import Any

from flask import Flask
from flask_restx import Api

from models.schema import MODELS
from resources import health, keys
from resources.body import FORM, JSON


DESCRIPTION = """\
A key-value store over HTTP, kept in Redis or Valkey.

A key is any UTF-8 of 1 to 1,024 bytes; a value is any bytes. Values are JSON strings, and `{"base64": "..."}` where the
bytes are not UTF-8. Every error is a problem document (RFC 9457) with a stable `code`.

Beside the operations below every URL answers 404, and every other method 405, in the same shape. What Gunicorn refuses
before it is a request (a malformed head, a request line above 8,190 bytes) gets Gunicorn's own page instead.
"""


class DocumentedApi(Api):
    """Flask-RESTX as the source of routes and documentation only: errors and bodies are ours."""

    def error_router(self, original_handler: Any, e: Exception) -> Any:
        """Leave every exception to the handlers in `api/errors.py`.

        :param original_handler: Flask's own
        :param e: the exception
        """
        return original_handler(e)

    @property
    def __schema__(self) -> dict[str, Any]:
        """The Swagger 2.0 document."""
        document: dict[str, Any] = super().__schema__
        # Flask-RESTX documents two errors of its field masks, which are not used here.
        document.pop("responses", None)
        document["produces"] = [JSON, "application/problem+json"]
        # It can only declare this for uploads.
        document["paths"]["/keys"]["put"]["consumes"] = [JSON, FORM]
        return document


def register_documentation(app: Flask) -> None:
    """Mount the resources, the document at `/swagger.json` and its page at `/`.

    :param app: the application
    """
    app.config.update(RESTX_MASK_SWAGGER=False, RESTX_ERROR_404_HELP=False)
    api = DocumentedApi(app, version=version("flaskvstore"), title="flaskvstore", description=DESCRIPTION, doc="/")
    for model in MODELS:
        api.add_model(model.name, model)
    for namespace in (keys.ns, health.ns):
        api.add_namespace(namespace)
