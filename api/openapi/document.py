"""The Swagger document and its page, from what the resources declare."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from flask import Flask, Response, request
from flask_restx import Api
from flask_restx.representations import output_json
from flask_restx.swagger import extract_path

from api.errors import PROBLEM_JSON, PROBLEMS, problem_document
from api.openapi.page import documentation_page, register_page_files
from models.schema import MODELS, PROBLEM
from resources.base import resource_class
from resources.media_types import JSON


DESCRIPTION = """\
A key-value store over HTTP, kept in Redis or Valkey.

A key is any UTF-8 of 1 to 1,024 bytes; a value is any bytes. Values are JSON strings, and `{"base64": "..."}` where the
bytes are not UTF-8. Every error is a problem document (RFC 9457) with a stable `code`.

OPTIONS names the methods of a URL. Beside that and the operations below every URL answers 404, and every other method
405, in the same shape. A service without tokens answers 403 to what a browser sends for a web page of another site, and
if it listens to its own machine also under other host names than `localhost`. What Gunicorn refuses before it is a
request (a malformed head, a request line above 8,190 bytes) is a problem document too, with the codes
`malformed_request`, `uri_too_long`, `fields_too_large` and `expectation_failed`.
"""
AUTHORIZATIONS = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Bearer TOKEN`, where the service has tokens: `flaskvstore token create` makes one. "
        "On this page the token alone is enough.",
    }
}
# The order under each path, in the document and on its page.
ITEM_ORDER = ("parameters", "get", "head", "put", "patch", "post", "delete")


class DocumentedApi(Api):
    """Flask-RESTX for routes and documentation only: errors and bodies are ours."""

    def error_router(self, original_handler: Any, e: Exception) -> Any:
        """Leave every exception to the handlers in `api/errors.py`."""
        return original_handler(e)

    def _register_apidoc(self, app: Flask) -> None:
        """Leave out Flask-RESTX' own page: its inline script and style would need a weaker policy."""

    @property
    def __schema__(self) -> dict[str, Any]:
        """The Swagger 2.0 document, for the prefix of the request."""
        document: dict[str, Any] = super().__schema__
        # Flask-RESTX leaves out an empty list, which says that no operation needs a token.
        document.setdefault("security", [])
        # Flask-RESTX documents two errors of its field masks, which are not used here.
        document.pop("responses", None)
        document["produces"] = [JSON, PROBLEM_JSON]
        rules = self.app.url_map.iter_rules()
        resources = {extract_path(rule.rule): resource_class(self.app, rule.endpoint) for rule in rules}
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    complete(operation, resources[path].bodies.get(method.upper()))
            # Flask keeps the methods of a view in a set, so their order differs from start to start.
            document["paths"][path] = dict(sorted(item.items(), key=lambda member: ITEM_ORDER.index(member[0])))
        document["definitions"] = {name: self.models[name].__schema__ for name in sorted(self.models)}
        # Flask-RESTX keeps the document of the first request.
        return {**document, "basePath": request.root_path or "/"}


def complete(operation: dict[str, Any], bodies: Sequence[str] | None) -> None:
    """Add what Flask-RESTX leaves out.

    :param operation: an operation of the document
    :param bodies: the media types of its body; None if it takes none
    """
    # Flask-RESTX writes this for uploads only.
    if bodies is not None:
        operation["consumes"] = list(bodies)
    # An operation's list replaces the document's, and is for its errors as well.
    if "produces" in operation:
        operation["produces"] = list(dict.fromkeys([*operation["produces"], PROBLEM_JSON]))
    add_examples(operation["responses"])


def add_examples(responses: dict[str, dict[str, Any]]) -> None:
    """Add an example of each error, which Flask-RESTX cannot declare.

    :param responses: those of one operation
    """
    for status, response in responses.items():
        if "schema" not in response or status == "200":
            continue
        error, problem = next(row for row in PROBLEMS.items() if str(row[1].status) == status)
        document = problem_document(
            problem, (error.__doc__ or "").partition("\n")[0], "af93b9bf0cbe0f8bd72bc3d1ae7a0a34"
        )
        response["examples"] = {PROBLEM_JSON: document}
        # The page shows the example of the media type that is chosen there, which is that of a success.
        response["schema"] = {"allOf": [{"$ref": f"#/definitions/{PROBLEM.name}"}], "example": document}


def document_response(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    """Return the response with the document, which caches have to ask for each time, by its ETag."""
    response: Response = output_json(document, status, headers)
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def register_documentation(app: Flask, *, with_tokens: bool) -> Api:
    """Serve the document at `/swagger.json` and its page at `/`.

    :param with_tokens: whether requests for keys need a token
    :return: mounts namespaces, and documents them
    """
    app.config.update(RESTX_MASK_SWAGGER=False, RESTX_ERROR_404_HELP=False)
    api = DocumentedApi(
        app,
        version=version("flaskvstore"),
        title="flaskvstore",
        description=DESCRIPTION,
        doc="/",
        authorizations=AUTHORIZATIONS if with_tokens else None,
        security=list(AUTHORIZATIONS) if with_tokens else None,
    )
    api.representation(JSON)(document_response)
    api.documentation(documentation_page)
    register_page_files(app)
    for model in MODELS:
        api.add_model(model.name, model)
    return api
