"""Authentication by bearer token (RFC 6750), read only from the header `Authorization`."""

from functools import partial

from flask import Flask, g, request

from models.tokens import Token, Tokens
from resources.base import KeyResource, resource_class
from resources.errors import MissingToken


SCHEME = "bearer"


def register_access(app: Flask, tokens: Tokens | None) -> None:
    """Look up the token of each request for keys, before anything else in it is read.

    :param tokens: the tokens; None if everybody may do everything
    """
    if tokens is None:
        return

    @app.before_request
    def identify() -> None:
        g.token = token = presented_token(tokens) if is_about_keys(app) else None
        if token is not None:
            # What takes long asks again.
            g.check_token = partial(tokens.check_unchanged, token)


def is_about_keys(app: Flask) -> bool:
    """Return whether the current request is for a resource of keys, and not OPTIONS."""
    return issubclass(resource_class(app, request.endpoint), KeyResource) and request.method != "OPTIONS"


def presented_token(tokens: Tokens) -> Token:
    """Return the token of the current request.

    :param tokens: all tokens
    :raises MissingToken: it has none
    :raises InvalidToken: it is not known
    :raises TokensUnusable: the file of tokens cannot be read
    """
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != SCHEME:
        raise MissingToken
    return tokens.find(credentials.strip())
