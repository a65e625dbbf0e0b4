"""Follow a flaskvstore service: its events, for ever."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any


# The service writes something every 15 seconds: after a longer silence the connection is dead.
SILENCE_SECONDS = 20
PAUSE_SECONDS = 2
REFUSED = {400, 401, 403, 404, 406}


def events(url: str, token: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name and the data of each event; `cut` where the connection was lost, before it is made again."""
    headers = {"Accept": "text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE_SECONDS) as lines:
                for block in blocks(lines):
                    if "event" in block:
                        yield block["event"], json.loads(block["data"])
                    # Only now: what was not yet worked on is told again.
                    headers["Last-Event-ID"] = block.get("id", headers.get("Last-Event-ID", ""))
        except urllib.error.HTTPError as error:
            if error.code in REFUSED:
                raise
        except (OSError, http.client.HTTPException):
            pass
        yield "cut", {}
        time.sleep(PAUSE_SECONDS)


def blocks(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Give the fields of each block, which ends with an empty line."""
    block: dict[str, str] = {}
    for line in lines:
        field, _, text = line.decode().rstrip("\n").partition(": ")
        if field:
            block[field] = text
        else:
            yield block
            block = {}
