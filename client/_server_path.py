"""Where the service lies: in `_server` beside this file when it is installed, above this folder in a clone."""

import os
import sys
from pathlib import Path


_INSTALLED = Path(__file__).with_name("_server")
_FOLDER = str(_INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parent.parent)


def prepend() -> None:
    """Import the service's packages before any others of their names, in this process and in those that it starts.

    Called again where somebody may have put another folder first, as Gunicorn does with the current one.
    """
    if sys.path[0] != _FOLDER:
        sys.path.insert(0, _FOLDER)
        others = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = _FOLDER + (os.pathsep + others if others else "")
