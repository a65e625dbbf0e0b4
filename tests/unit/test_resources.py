"""What a resource has to declare, so that none is forgotten."""

from typing import Any

import pytest

from api.app import create_app
from api.settings import Settings
from models.tokens import SCOPES
from resources.base import KeyResource, resource_class
from resources.keys import KeyItem, ValueItem


APP = create_app(Settings(redis_url="redis://127.0.0.1:1"))
# Those of Flask-RESTX send the document. In one order, which the workers of pytest-xdist have to agree on.
MOUNTED = [
    each
    for each in dict.fromkeys(resource_class(APP, endpoint) for endpoint in APP.view_functions)
    if each.__module__.startswith("resources.")
]


def test_every_resource_declares_a_metric_name_of_its_own() -> None:
    # One key is the same at both of its URLs.
    mounted = [each for each in MOUNTED if each is not ValueItem]
    names = {each.metric_name for each in mounted}

    assert len(names) == len(mounted) > 0
    assert ValueItem.metric_name == KeyItem.metric_name
    assert not names & {"documentation", "none"}


@pytest.mark.parametrize("resource", [each for each in MOUNTED if issubclass(each, KeyResource)])
def test_every_method_on_keys_declares_its_scopes(resource: Any) -> None:
    assert set(resource.scopes) == resource.methods
    assert {scope for scopes in resource.scopes.values() for scope in scopes} <= set(SCOPES)
