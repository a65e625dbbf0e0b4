"""The Python client of flaskvstore; the package `flaskvstore` when it is installed."""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .public import *
else:

    def __getattr__(name: str) -> Any:
        """Load what is used: the processes of the service import this package too, and must not load httpx."""
        public = None if name.startswith("_") else import_module(".public", __name__)
        if name not in getattr(public, "__all__", ()):
            raise AttributeError(name)
        return getattr(public, name)
