from typing import Any

import pytest
from flask import Request
from hypothesis import example, given
from hypothesis import strategies as st
from redis import exceptions
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter
from werkzeug.test import create_environ

from api.app import create_app
from api.settings import Settings
from tests.support.servers.stores import broken_store


APP = create_app(Settings(), store=broken_store(exceptions.ConnectionError()))


class TestRoutes:
    @given(
        start=st.sampled_from(("/keys/", "/values/", "/keys", "/token/", "//keys/", "/keys//", "/")),
        rest=st.text(alphabet="ak/%\n é<:>", max_size=6),
        method=st.sampled_from(("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "POST", "get", "BREW")),
    )
    @example("/keys/", "health/live", "GET")
    @example("/values/", "a/", "GET")
    def test_a_path_leads_where_werkzeug_finds_it(self, start: str, rest: str, method: str) -> None:
        environ = create_environ(method=method) | {"PATH_INFO": (start + rest).encode().decode("latin-1")}

        with APP.request_context(environ) as context:
            request = context.request

        found = request.url_rule, request.view_args, type(request.routing_exception)
        assert found == found_by_werkzeug(request)

    @pytest.mark.parametrize("path", ["/keys/word", "/values/word"])
    def test_that_of_a_key_is_found_without_a_search(self, path: str) -> None:
        request = APP.request_class(create_environ(path))

        assert APP.create_url_adapter(request) is None
        assert request.view_args == {"key": "word"}


def found_by_werkzeug(request: Request) -> tuple[Any, Any, type]:
    adapter = MapAdapter(APP.url_map, "localhost", "", "", "http", request.path, request.method)
    try:
        return *adapter.match(return_rule=True), type(None)
    except HTTPException as error:
        return None, None, type(error)
