"""Health checks for orchestrators."""

from flask_restx import Namespace

from models.errors import NotReady
from models.schema import HEALTH
from resources.base import StoreResource
from resources.declarations import answers
from resources.media_types import JSON
from resources.parsing.parameters import parse_query
from resources.responses import BytesResponse, json_response


ns = Namespace("health", path="/health", description="Is the service well?")


@ns.route("/live")
@ns.doc(security=[])
class Liveness(StoreResource):
    """Whether this process works."""

    metric_name = "live"

    @ns.doc("check_live")
    @answers(ns, {JSON: HEALTH}, "It does.", 400, 403)
    def get(self) -> BytesResponse:
        """Check that the service runs; the store is not asked."""
        parse_query()
        return json_response({"status": "ok"})

    @ns.doc("is_live")
    @answers(ns, {}, "It does; there is no body.", 400, 403)
    def head(self) -> BytesResponse:
        """Check that the service runs, without a body."""
        response: BytesResponse = self.get()
        return response


@ns.route("/ready")
@ns.doc(security=[])
class Readiness(StoreResource):
    """Whether requests would succeed."""

    metric_name = "ready"

    @ns.doc("check_ready")
    @answers(ns, {JSON: HEALTH}, "They would.", 400, 403, 503)
    def get(self) -> BytesResponse:
        """Check that the store answers, and that the service is not about to stop."""
        parse_query()
        if self.is_stopping:
            raise NotReady("The service is stopping: it finishes the requests it has, and takes no more.")
        self.store.ping()
        return json_response({"status": "ok"})

    @ns.doc("is_ready")
    @answers(ns, {}, "They would; there is no body.", 400, 403, 503)
    def head(self) -> BytesResponse:
        """Check that the store answers, without a body."""
        response: BytesResponse = self.get()
        return response
