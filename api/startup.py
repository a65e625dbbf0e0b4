"""What is checked before the service starts: the settings that a WSGI server needs, and the file of tokens."""

import os
import sys
from pathlib import Path

from api.settings import Settings, StartError
from models.errors import TokensUnusable
from models.tokens import Tokens
from models.valkey.url import TLS_FILES, TLS_FOLDER, StoreUrl


# Gunicorn stops on this exit status of a worker; on others it starts the worker again, without end.
CANNOT_LOAD = 4


def settings_for_wsgi_server() -> Settings:
    """Read the settings where a WSGI server starts the application, or end the process with a sentence."""
    try:
        settings = Settings.from_env(os.environ)
        check(settings)
        require_store(settings.redis_url)
    except StartError as error:
        sys.stderr.write(f"flaskvstore: {error}\n")
        raise SystemExit(CANNOT_LOAD) from None
    return settings


def check(settings: Settings) -> None:
    """Check that the service can be started with these settings.

    :raises StartError: it would be open to every web page, its server is not for clients that are not trusted, or a
        file that the settings name cannot be read
    """
    if settings.server == "granian" and not settings.trust_clients:
        raise StartError(
            "is granian, which stores a chunked body that breaks off as if it were whole, and waits for slow clients "
            "without a limit. Use gunicorn, or add --trust-clients if that is meant.",
            setting="server",
        )
    if settings.cors_origins == ("*",) and settings.tokens_file is None and not settings.open:
        raise StartError(
            "is *, and there are no tokens: every web page could read, change and delete everything. Name the origins, "
            "or name a tokens file with --tokens-file, or add --open if that is meant.",
            setting="cors_origins",
        )
    check_store_files(settings.redis_url)
    open_tokens(settings.tokens_file)


def require_store(redis_url: str | None) -> None:
    """Check that a store is named.

    :raises StartError: there is none
    """
    if redis_url is None:
        raise StartError(
            "is not set: set it to the URL of a Redis or Valkey, such as redis://127.0.0.1:6379/0, or run "
            "`flaskvstore serve`, which brings its own.",
            setting="redis_url",
        )


def check_store_files(redis_url: str | None) -> None:
    """Check that the files named in the URL of a store can be read; the client would only see it later.

    :raises StartError: one cannot
    """
    options = StoreUrl.parse(redis_url).options if redis_url else {}
    for name in TLS_FILES:
        # A FIFO in its place would stop a worker for as long as nobody writes into it.
        is_one = Path.is_dir if name == TLS_FOLDER else Path.is_file
        if name in options and not (os.access(options[name], os.R_OK) and is_one(Path(options[name]))):
            raise StartError(f"has the option {name}, but {options[name]} cannot be read.", setting="redis_url")


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
