"""Real input: a dictionary of the English language, each word a key."""

import os
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from tests.support.clients import put_json
from tests.support.contract import Contract
from tests.support.servers.services import need, serving


WORDS = Path("/usr/share/dict/american-english")
WORDS_A_BODY = 20_000


def grep(expression: str) -> set[str]:
    """Give the words of which the whole line matches."""
    found = subprocess.run(
        ["grep", "-x", expression, WORDS],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
    )
    return set(found.stdout.decode().splitlines())


@pytest.mark.soak
def test_a_dictionary_is_stored_filtered_and_there_after_a_restart(tmp_path: Path, contract: Contract) -> None:
    need(WORDS.exists(), "Debian's package wamerican")
    words = WORDS.read_text().splitlines()
    assert len(words) > 100_000

    with serving(tmp_path) as service:
        ask = service.ask(contract)
        remaining = iter(words)
        while batch := list(islice(remaining, WORDS_A_BODY)):
            assert put_json(ask, {word: str(len(word)) for word in batch}).json == {"stored": len(batch)}
        assert ask("GET", "/keys?filter=wo$d").json == {word: str(len(word)) for word in grep("wo.*d")}
        assert set(ask("GET", "/keys?filter=$'s&values=false").json) == grep(".*'s")

    with serving(tmp_path) as service:
        ask = service.ask(contract)
        assert ask("GET", "/keys").json == {word: str(len(word)) for word in words}
        assert ask("HEAD", "/keys").headers["Total-Count"] == str(len(words))
