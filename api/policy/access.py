"""Who asks: the bearer token of a request (RFC 6750), taken from its header and from nowhere else."""

from flask import Flask, g, request

from models.tokens import Token, Tokens
from resources.base import KeyResource, resource_class
from resources.errors import MissingToken


SCHEME = "bearer"


def register_access(app: Flask, tokens: Tokens | None) -> None:
    """Find out whose each request for keys is, before anything else is looked at.

    :param app: the application, with its resources
    :param tokens: the tokens; None if everybody may do everything
    """
    if tokens is None:
        return

    @app.before_request
    def identify() -> None:
        g.token = presented_token(tokens) if is_about_keys(app) else None


def is_about_keys(app: Flask) -> bool:
    """Tell whether the current request is for a resource of keys; not one that only asks for its methods.

    :param app: the application
    """
    return issubclass(resource_class(app, request.endpoint), KeyResource) and request.method != "OPTIONS"


def presented_token(tokens: Tokens) -> Token:
    """Give the token of the current request.

    :param tokens: those that are known
    :raises MissingToken: it has none
    :raises InvalidToken: it is none of them
    :raises TokensUnusable: nobody can tell
    """
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != SCHEME:
        raise MissingToken
    return tokens.find(credentials.strip())
