"""The documents, from what the resources declare, and where they are served."""

import re
from functools import cached_property
from importlib.metadata import version
from typing import Any

from flask import Flask, Response, request
from flask_restx import Api
from flask_restx.representations import output_json
from flask_restx.swagger import extract_path

from api.openapi.openapi import openapi_document
from api.openapi.page import page, register_page_files
from api.openapi.swagger import AUTHORIZATIONS, swagger_document
from models.schema import MODELS
from resources.base import resource_class
from resources.media_types import JSON


DESCRIPTION = """\
A key-value store over HTTP, kept in Redis or Valkey: `PUT /keys?word=one` stores a value, `GET /keys/word` reads it.

A key is any UTF-8 of 1 to 1,024 bytes; a value is any bytes. Values are JSON strings, and `{"base64": "..."}` where the
bytes are not UTF-8. Every error is a problem document (RFC 9457) with a stable `code`.

OPTIONS names the methods of a URL. Any other URL than those below is 404, and any other method 405. A service without
tokens answers 403 to what a browser sends for a web page of another site, and if it listens to its own machine also
under other host names than `localhost`.
"""
# The order under each path. Top down, each example works on an empty store.
ITEM_ORDER = ("parameters", "put", "get", "head", "patch", "post", "delete")
# A line break inside of a paragraph, which pages would show.
LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")


class DocumentedApi(Api):
    """Flask-RESTX for routes and documentation only: errors and bodies are ours."""

    def error_router(self, original_handler: Any, e: Exception) -> Any:
        """Leave every exception to the handlers in `api/errors.py`."""
        return original_handler(e)

    def _register_apidoc(self, app: Flask) -> None:
        """Leave out Flask-RESTX' own page: its inline script and style would need a weaker policy."""

    def render_root(self) -> Response:
        """Return the start page."""
        return page("start.html")

    @cached_property
    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The documents of Swagger 2.0 and of OpenAPI 3.1, without the prefix."""
        made = super().__schema__
        # Flask keeps the methods of a view in a set, so their order differs from start to start.
        made["paths"] = {
            path: dict(sorted(item.items(), key=lambda member: ITEM_ORDER.index(member[0])))
            for path, item in made["paths"].items()
        }
        for item in made["paths"].values():
            for operation in item.values():
                if "description" in operation:
                    operation["description"] = LINE_BREAK.sub(" ", operation["description"])
        rules = self.app.url_map.iter_rules()
        resources = {extract_path(rule.rule): resource_class(self.app, rule.endpoint) for rule in rules}
        return swagger_document(made, resources), openapi_document(made, resources)

    @property
    def __schema__(self) -> dict[str, Any]:
        """The Swagger 2.0 document, for the prefix of the request."""
        return {**self.documents[0], "basePath": request.root_path or "/"}

    @property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document, for the prefix of the request."""
        return {**self.documents[1], "servers": [{"url": request.root_path or "/"}]}


def document_response(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    """Return the response with the document, which caches have to ask for each time, by its ETag."""
    response: Response = output_json(document, status, headers)
    response.headers["Content-Type"] = JSON
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def register_documentation(app: Flask, *, with_tokens: bool) -> Api:
    """Serve the documents at `/openapi.json` and `/swagger.json`, their page at `/docs`, and a start page at `/`.

    :param with_tokens: whether requests for keys need a token
    :return: mounts namespaces, and documents them
    """
    app.config.update(RESTX_MASK_SWAGGER=False, RESTX_ERROR_404_HELP=False)
    api = DocumentedApi(
        app,
        version=version("flaskvstore"),
        title="flaskvstore",
        description=LINE_BREAK.sub(" ", DESCRIPTION).strip(),
        doc="/docs",
        authorizations=AUTHORIZATIONS if with_tokens else None,
        security=list(AUTHORIZATIONS) if with_tokens else None,
    )
    api.representation(JSON)(document_response)
    api.documentation(lambda: page("docs.html"))
    app.add_url_rule("/openapi.json", view_func=lambda: document_response(api.openapi, 200), endpoint="openapi")
    register_page_files(app)
    for model in MODELS:
        api.add_model(model.name, model)
    return api
