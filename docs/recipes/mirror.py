"""Keep one service the same as another: `python docs/recipes/mirror.py http://FROM http://TO`.

The second one gets all keys of the first, with their expiries, and loses those that the first does not have.
"""

import json
import sys
import urllib.request
from typing import Any

from events import events


AT_A_TIME = 500


class Copy:
    """The service that is kept the same."""

    def __init__(self, url: str) -> None:
        self._url = url
        # While the state is told: all keys so far, and records that are not stored yet.
        self._keys: set[str] | None = None
        self._records: list[dict[str, Any]] = []

    def begin_state(self) -> None:
        """Expect all keys."""
        self._keys, self._records = set(), []

    def put(self, record: dict[str, Any]) -> None:
        """Store a record, or some together while the state is told."""
        del record["etag"]
        self._records.append(record)
        if self._keys is not None:
            self._keys.add(str(record["key"]))
        if self._keys is None or len(self._records) >= AT_A_TIME:
            self._store()

    def delete(self, keys: list[Any]) -> None:
        """Delete keys; those that are not text are those of other programs, and stay."""
        names = [key for key in keys if isinstance(key, str)]
        for first in range(0, len(names), AT_A_TIME):
            self._ask("POST", "/keys", json.dumps({"delete": names[first : first + AT_A_TIME]}), "application/json")

    def end_state(self) -> None:
        """Delete the keys that were not told."""
        self._store()
        there, self._keys = self._keys or set(), None
        self.delete([key for key in self._ask("GET", "/keys?values=false") if key not in there])

    def _store(self) -> None:
        if self._records:
            lines = "\n".join(map(json.dumps, self._records))
            answer = self._ask("PUT", "/keys", lines, "application/x-ndjson")
            if answer["failed"]:
                raise SystemExit(f"A record was refused: {answer['errors'][0]['detail']}")
            self._records = []

    def _ask(self, method: str, path: str, body: str | None = None, media_type: str = "") -> Any:
        data = None if body is None else body.encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": media_type}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def mirror(source_url: str, copy: Copy) -> None:
    """Do to one service what happens to another."""
    for name, data in events(f"{source_url}/keys"):
        match name:
            case "reset":
                copy.begin_state()
            case "put":
                copy.put(data)
            case "delete" | "expire":
                copy.delete([data["key"]])
            case "synced":
                copy.end_state()


if __name__ == "__main__":
    mirror(sys.argv[1], Copy(sys.argv[2]))
