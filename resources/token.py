"""`/token`: what the token of a request may do."""

from typing import Any, ClassVar

from flask_restx import Namespace

from models.schema import TOKEN
from models.tokens import SCOPES, Token
from resources.base import KeyResource
from resources.declarations import key_answers
from resources.media_types import JSON
from resources.parsing.parameters import parse_query
from resources.responses import BytesResponse, json_response


ns = Namespace("token", path="/token", description="What may the token at hand do?")


@ns.route("")
class CurrentToken(KeyResource):
    """The token of the current request."""

    metric_name = "token"
    scopes: ClassVar = {"GET": (), "HEAD": ()}

    @ns.doc("get_token")
    @key_answers(ns, {JSON: TOKEN}, "What it may do.")
    def get(self) -> BytesResponse:
        """Read the name, the namespace, the scopes and the expiry of the token at hand, or that none is needed."""
        parse_query()
        return json_response(_shown(self.token))

    @ns.doc("check_token")
    @key_answers(ns, {}, "It is good, or none is needed; there is no body.")
    def head(self) -> BytesResponse:
        """Check that the token at hand is good, or that none is needed."""
        response: BytesResponse = self.get()
        return response


def _shown(token: Token | None) -> dict[str, Any]:
    if token is None:
        return {"required": False, "scopes": SCOPES}
    shown = {"required": True, "name": token.name, "namespace": token.namespace, "scopes": token.scopes}
    return shown if token.expires_at is None else {**shown, "expires_at": token.expires_at}
