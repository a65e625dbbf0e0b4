"""docs/client.md says what the client does."""

import doctest
import inspect
import re
from pathlib import Path

import pytest
from redis import Redis

import client
from client import FlaskvstoreError, Store, public
from client.errors import BY_CODE
from tests.project.test_documentation import table
from tests.support.servers.services import Service


PAGE = (Path(__file__).parent.parent.parent / "docs" / "client.md").read_text()


def test_every_example_gives_what_it_shows(
    service: Service, service_connection: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service_connection.flushall()
    monkeypatch.chdir(tmp_path)
    shown = "\n".join(re.findall(r"^```pycon\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    text = shown.replace(":5000", f":{service.port}")
    examples = doctest.DocTestParser().get_doctest(text, {}, "client.md", None, None)
    said: list[str] = []

    failed, tried = doctest.DocTestRunner().run(examples, out=said.append)

    assert (failed, "".join(said)) == (0, "")
    assert tried > 30


def test_the_error_table_has_every_class_with_its_codes_and_no_other() -> None:
    classes = {
        name: {code for code, raised in BY_CODE.items() if raised is found}
        for name in public.__all__
        if inspect.isclass(found := getattr(client, name)) and issubclass(found, FlaskvstoreError)
    }
    del classes["FlaskvstoreError"]

    rows = table("class", PAGE)

    assert {name: set(re.findall(r"\w+", codes)) for name, _, codes in rows} == classes
    assert {name: base for name, base, _ in rows if base} == {
        name: bases[0]
        for name in classes
        if (bases := [base.__name__ for base in getattr(client, name).__bases__ if base is not FlaskvstoreError])
    }


def test_every_call_is_named() -> None:
    calls = {name for name in dir(Store) if not name.startswith("_")}

    assert {name for name in calls if not re.search(rf"\b{name}\(|`{name}`", PAGE)} == set()


def test_every_argument_of_a_store_is_named() -> None:
    rows = " ".join(row[0] for row in table("argument of `Store` and `AsyncStore`", PAGE))

    assert set(re.findall(r"\w+", rows)) - {"or"} == set(inspect.signature(Store).parameters)
