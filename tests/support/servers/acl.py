"""The user of a server that may do what the README says, and nothing else."""

import re
from pathlib import Path
from typing import Any


USER = "flaskvstore"
PASSWORD = "let me in"  # noqa: S105  # of a server on loopback that ends with the tests


def documented(document: str = "README.md") -> list[str]:
    """Give the words of a document's line that makes the user, with a password of ours."""
    text = (Path(__file__).parent.parent.parent.parent / document).read_text()
    line = re.search(r"ACL SETUSER (.*)", text)
    assert line, f"{document} has no such line"
    return [word.replace("PASSWORD", PASSWORD) for word in line[1].split()]


def allow(server: Any, rules: list[str]) -> None:
    """Make the user on a server, or change it."""
    server.execute_command("ACL SETUSER", *rules)


def as_user(url: str) -> str:
    """Give the URL of a store with the user and its password in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{USER}:let%20me%20in@{rest}"
