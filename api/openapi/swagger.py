"""Swagger 2.0: what Flask-RESTX makes of the declarations, and what is left of the schemas.

Swagger 2.0 has no unions, no bounds on the names of an object, no query parameter that is an object, and one schema for
all media types of a body. So a value that is sent is text there, and one that is answered is anything.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from api.errors import PROBLEM_JSON, example_of
from models.schema import MODELS, PROBLEM, ref
from resources.media_types import ANY, JSON


AUTHORIZATIONS = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Bearer TOKEN`, where the service has tokens: `flaskvstore token create` makes one.",
    }
}
# What schemas have in OpenAPI 3.1 only.
NEW_WORDS = {"anyOf", "contentEncoding", "contentMediaType", "contentSchema", "examples", "propertyNames"}
SCHEMAS = {ref(model)["$ref"]: model.__schema__ for model in MODELS}


def swagger_document(made: Mapping[str, Any], resources: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Return the Swagger 2.0 document.

    :param made: what Flask-RESTX has made
    :param resources: the class behind each path
    """
    document = {
        **made,
        # Flask-RESTX leaves out an empty list, which says that no operation needs a token.
        "security": made.get("security", []),
        "produces": [JSON, PROBLEM_JSON],
        "definitions": {model.name: weaker(model.__schema__) for model in MODELS},
        "paths": {
            path: {
                name: member if name == "parameters" else _operation(member, resources[path].bodies.get(name.upper()))
                for name, member in item.items()
            }
            for path, item in made["paths"].items()
        },
    }
    # Flask-RESTX documents two errors of its field masks, which are not used here.
    document.pop("responses", None)
    return document


def weaker(schema: Mapping[str, Any]) -> Any:
    """Return a schema as Swagger 2.0 can express it: a union is its first choice, or anything if it has null."""
    if "$ref" in schema:
        # Inlined, because what it refers to may be no more than a string here.
        return weaker(SCHEMAS[schema["$ref"]] | {name: value for name, value in schema.items() if name != "$ref"})
    kept = {name: value for name, value in schema.items() if name not in NEW_WORDS}
    match kept.get("type"):
        case [kind, "null"]:
            kept.update({"type": kind, "x-nullable": True})
    for name in ("items", "additionalProperties"):
        if isinstance(kept.get(name), Mapping):
            kept[name] = weaker(kept[name])
    if "properties" in kept:
        kept["properties"] = {name: weaker(member) for name, member in kept["properties"].items()}
    if "examples" in schema:
        kept["example"] = schema["examples"][0]
    if "anyOf" in schema:
        # Not a schema without a type, which generators of clients read as an object.
        return True if {"type": "null"} in schema["anyOf"] else schema["anyOf"][0] | kept
    return kept


def _operation(made: Mapping[str, Any], bodies: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an operation with what Flask-RESTX leaves out.

    :param bodies: the media types of its body; None if it takes none
    """
    operation = dict(made)
    if "parameters" in made:
        operation["parameters"] = [each for each in made["parameters"] if each["in"] == "body" or "schema" not in each]
    # Flask-RESTX writes this for uploads only.
    if bodies is not None:
        operation["consumes"] = [media_type for media_type in bodies if media_type != ANY]
    # An operation's list replaces the document's, and is for its errors as well.
    if "produces" in made:
        operation["produces"] = [*made["produces"], PROBLEM_JSON]
    operation["responses"] = {status: _response(status, response) for status, response in made["responses"].items()}
    return operation


def _response(status: str, made: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a response, with an example if it is an error: Flask-RESTX cannot declare one."""
    if int(status) < HTTPStatus.BAD_REQUEST or "schema" not in made:
        return made
    example = example_of(int(status))
    # Pages show the example of the media type that is chosen there, which is that of a success.
    schema = {"allOf": [{"$ref": f"#/definitions/{PROBLEM.name}"}], "example": example}
    return {**made, "schema": schema, "examples": {PROBLEM_JSON: example}}
