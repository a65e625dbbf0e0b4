"""docs/client.md and docs/command-line.md say what the client does."""

import doctest
import inspect
import re
import shlex
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner
from redis import Redis

import client
from api.settings import OF_THE_CLIENT
from client import FlaskvstoreError, Store, public
from client.commands.connection import exit_code_of
from client.errors import BY_CODE
from client.program import OF_THE_SERVICE, main
from client.sources import KINDS
from client.watching import Kind
from tests.project.test_documentation import run_example, table
from tests.support.servers.services import Service


DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "client.md").read_text()
COMMANDS = (DOCS / "command-line.md").read_text()
# Options that every command has which asks a service.
CONNECTION = {"--url", "--token-file", "--profile"}


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


def test_the_table_of_changes_has_every_kind_and_no_other() -> None:
    assert set(re.findall(r"\w+", " ".join(row[0] for row in table("kind", PAGE)))) == set(get_args(Kind))


def test_every_call_is_named() -> None:
    calls = {name for name in dir(Store) if not name.startswith("_")}

    assert {name for name in calls if not re.search(rf"\b{name}\(|`{name}`", PAGE)} == set()


def test_every_argument_of_a_store_is_named() -> None:
    rows = " ".join(row[0] for row in table("argument of `Store` and `AsyncStore`", PAGE))

    assert set(re.findall(r"\w+", rows)) - {"or"} == set(inspect.signature(Store).parameters)


class TestCommandLine:
    def test_every_example_gives_what_it_shows(
        self, service: Service, service_connection: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service_connection.flushall()
        monkeypatch.chdir(tmp_path)
        [example] = re.findall(r"^```console\n(.*?)^```$", COMMANDS, re.MULTILINE | re.DOTALL)
        address, *commands = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", example, re.MULTILINE)
        name, _, url = address[0].removeprefix("export ").replace(":5000", f":{service.port}").partition("=")

        for command, expected in commands:
            program, *arguments = shlex.split(command)
            if program == "flaskvstore" and not {"||", "--"} & set(arguments):
                # In this process, because a process takes longer than all of the examples.
                ran = CliRunner().invoke(main, arguments, env={name: url})
                assert (ran.exit_code, ran.stdout.strip()) == (0, expected.strip()), command
            else:
                in_shell = re.sub(r"\bflaskvstore(?= )", ".venv/bin/flaskvstore", command)
                run_example(f"$ export {name}={url}\n$ {in_shell}\n{expected}", 0, tmp_path)

    def test_the_table_has_every_command_with_its_options_and_no_other(self) -> None:
        expected = {
            name: {option.opts[-1] for option in command.params if isinstance(option, click.Option)} - CONNECTION
            for name, command in main.commands.items()
        }

        *rows, of_the_service = table("command", COMMANDS)

        assert {row[0].split()[0]: set(re.findall("--[a-z-]+", row[2])) for row in rows} == expected
        assert tuple(re.findall(r"\w+", of_the_service[0])) == OF_THE_SERVICE

    def test_the_usage_of_every_command_is_that_of_the_table(self) -> None:
        for row in table("command", COMMANDS)[:-1]:
            name, *arguments = row[0].split()
            usage = main.commands[name].collect_usage_pieces(click.Context(main.commands[name]))
            if name not in {"del", "lock", "completion"}:
                assert usage[1:] == arguments

    @pytest.mark.parametrize("name", main.commands)
    def test_every_help_has_an_example_and_says_what_an_option_is_by_default(self, name: str) -> None:
        command = main.commands[name]

        assert command.epilog
        assert command.epilog.startswith("Example: ")
        assert f"flaskvstore {name}" in command.epilog
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag:
                assert option.help
                assert "Default: " in option.help or option.help.startswith(("Only if", "Delete the keys")), option.name

    def test_the_exit_codes_are_those_of_the_code(self) -> None:
        shown = {error: int(row[0]) for row in table("code", COMMANDS) for error in re.findall(r"[A-Z]\w+", row[2])}

        assert shown == {
            name: exit_code_of(found(""))
            for name in public.__all__
            if inspect.isclass(found := getattr(client, name))
            and issubclass(found, FlaskvstoreError)
            and found is not FlaskvstoreError
        }

    def test_the_table_of_kinds_has_every_kind_and_no_other(self) -> None:
        assert [row[0] for row in table("kind", COMMANDS)] == list(KINDS)

    def test_the_options_and_variables_that_name_a_service_are_there(self) -> None:
        rows = table("what", COMMANDS)

        assert {row[1] for row in rows} == CONNECTION
        assert {row[2] for row in rows} - {""} == OF_THE_CLIENT
