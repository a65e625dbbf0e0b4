"""OpenAPI 3.1: everything that the declarations say."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from api.errors import PROBLEM_JSON, codes_of, example_of
from models.schema import MODELS, PROBLEM, ref
from resources.declarations import STATUS_DESCRIPTIONS, content_of, problem_headers
from resources.media_types import VALUE_TYPES


SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of this service; `flaskvstore token create` makes one.",
    }
}
LICENSE = {"name": "MIT", "identifier": "MIT"}
# What Swagger 2.0 has beside the schema of a parameter or a header, and not in it.
BESIDE = {"name", "in", "required", "description", "schema", "x-example", "x-examples"}


def openapi_document(made: Mapping[str, Any], resources: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    :param made: the Swagger 2.0 document that Flask-RESTX has made
    :param resources: the class behind each path
    """
    components: dict[str, Any] = {
        "schemas": {model.name: model.__schema__ for model in MODELS}
        | {_problem(status): _problem_schema(status) for status in STATUS_DESCRIPTIONS},
        "responses": {_problem(status): _problem_response(status) for status in STATUS_DESCRIPTIONS},
    }
    if "securityDefinitions" in made:
        components["securitySchemes"] = SECURITY_SCHEMES
    return {
        "openapi": "3.1.0",
        "info": {**made["info"], "license": LICENSE},
        "tags": made["tags"],
        # An empty list says that no operation needs a token.
        "security": made.get("security", []),
        "paths": {
            path: {method: _operation(item, method, resources[path]) for method in item if method != "parameters"}
            for path, item in made["paths"].items()
        },
        "components": components,
    }


def _operation(item: Mapping[str, Any], method: str, resource: type[Any]) -> dict[str, Any]:
    """Return an operation.

    :param item: the operations of its path, in Swagger 2.0
    :param resource: the class behind the path
    """
    made = item[method]
    # What stands in the path comes first.
    declared = [*item.get("parameters", []), *made.get("parameters", [])]
    operation = {
        **{name: made[name] for name in ("tags", "summary", "description", "operationId", "security") if name in made},
        "parameters": [_parameter(each) for each in declared if each["in"] != "body"],
    }
    for body in declared:
        if body["in"] == "body":
            operation["requestBody"] = {
                "description": body["description"],
                "required": body["required"],
                "content": content_of(resource.bodies[method.upper()]),
            }
            # What openapi-generator calls it, as in Swagger 2.0, which has a name for it.
            operation["x-codegen-request-body-name"] = body["name"]
    operation["responses"] = {
        status: {"$ref": f"#/components/responses/{_problem(status)}"}
        if "schema" in response and int(status) >= HTTPStatus.BAD_REQUEST
        else _answer(response)
        for status, response in made["responses"].items()
    }
    if method != "head":
        content = getattr(resource, method).__apidoc__["content"]
        operation["responses"]["200"]["content"] = content
        if "206" in operation["responses"]:
            operation["responses"]["206"]["content"] = {each: content[each] for each in VALUE_TYPES}
    return operation


def _parameter(declared: Mapping[str, Any]) -> dict[str, Any]:
    parameter = {name: declared[name] for name in ("name", "in", "description") if name in declared}
    parameter["required"] = declared["in"] == "path"
    parameter["schema"] = declared.get("schema") or _schema(declared)
    if "x-example" in declared:
        parameter["example"] = declared["x-example"]
    return parameter


def _schema(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter or of a header."""
    schema = {name: value for name, value in declared.items() if name not in BESIDE}
    if "x-examples" in declared:
        schema["examples"] = [example["value"] for example in declared["x-examples"].values()]
    return schema


def _answer(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a response without its content."""
    headers = {
        name: {"description": header["description"], "schema": _schema(header)}
        for name, header in declared["headers"].items()
    }
    return {"description": declared["description"], "headers": headers}


def _problem(status: int | str) -> str:
    return f"{PROBLEM.name}{status}"


def _problem_schema(status: int) -> dict[str, Any]:
    codes = {"type": "string", "enum": codes_of(status)}
    return {"allOf": [ref(PROBLEM), {"type": "object", "properties": {"code": codes}}]}


def _problem_response(status: int) -> dict[str, Any]:
    answer = _answer({"description": STATUS_DESCRIPTIONS[status], "headers": problem_headers(status)})
    schema = {"$ref": f"#/components/schemas/{_problem(status)}"}
    return {**answer, "content": {PROBLEM_JSON: {"schema": schema, "example": example_of(status)}}}
