"""What is checked before the service starts: the settings that a WSGI server needs, and the file of tokens."""

import os
import sys
from pathlib import Path

from api.settings import Settings, StartError
from models.errors import TokensUnusable
from models.tokens import Tokens


# Gunicorn stops on this exit status of a worker; on others it starts the worker again, without end.
CANNOT_LOAD = 4


def settings_for_wsgi_server() -> Settings:
    """Read the settings where a WSGI server starts the application, or end the process with a sentence."""
    try:
        settings = Settings.from_env(os.environ)
        check(settings)
    except StartError as error:
        sys.stderr.write(f"flaskvstore: {error}\n")
        raise SystemExit(CANNOT_LOAD) from None
    return settings


def check(settings: Settings) -> None:
    """Make sure that the application can be started with these settings.

    :raises StartError: no store is named, or the file of tokens cannot be read
    """
    if settings.redis_url is None:
        raise StartError(
            "is not set: set it to the URL of a Redis or Valkey, such as redis://127.0.0.1:6379/0, or run "
            "`flaskvstore serve`, which brings its own.",
            setting="redis_url",
        )
    open_tokens(settings.tokens_file)


def open_tokens(path: Path | None) -> Tokens | None:
    """Return the tokens; None if everybody may do everything.

    :param path: their file, if there is one
    :raises StartError: it cannot be read
    """
    if path is None:
        return None
    tokens = Tokens(path)
    try:
        tokens.by_name()
    except TokensUnusable as error:
        raise StartError(
            f"is {str(path)!r}, which cannot be used ({error.__cause__}). `flaskvstore token create` makes one.",
            setting="tokens_file",
        ) from error
    return tokens
