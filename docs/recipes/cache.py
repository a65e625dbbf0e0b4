"""A cache of one service in another program: what is replaced is gone from it some milliseconds later."""

import json
import threading
import urllib.parse
import urllib.request
from typing import Any

from events import events


class Cache:
    """The values of all keys that a filter matches, without a request for each.

    As long as the stream is cut, each read is a request.

    :param url: the service
    :param pattern: the filter
    """

    def __init__(self, url: str, pattern: str) -> None:
        self._url = url
        self._pattern = pattern
        self._values: dict[str, Any] = {}
        self.is_synced = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def get(self, key: str) -> Any:
        """Give the value of a key that the filter matches; None if there is none."""
        if self.is_synced.is_set():
            return self._values.get(key)
        query = urllib.parse.urlencode({"filter": key.replace("\\", "\\\\").replace("$", "\\$")})
        with urllib.request.urlopen(f"{self._url}/keys?{query}") as answer:
            return json.load(answer).get(key)

    def _follow(self) -> None:
        query = urllib.parse.urlencode({"filter": self._pattern})
        for name, data in events(f"{self._url}/keys?{query}"):
            match name:
                case "cut":
                    self.is_synced.clear()
                case "reset":
                    self.is_synced.clear()
                    self._values.clear()
                case "put":
                    self._values[str(data["key"])] = data["value"]
                case "delete" | "expire":
                    self._values.pop(str(data["key"]), None)
                case "synced":
                    self.is_synced.set()
