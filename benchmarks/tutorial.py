"""The same as a plain Flask-RESTX resource, as tutorials write it."""

import os
from typing import Any

import redis
from flask import Flask, request
from flask_restx import Api, Resource, abort


app = Flask("tutorial")
api = Api(app)
client = redis.Redis.from_url(os.environ["FLASKVSTORE_REDIS_URL"], decode_responses=True)


@api.route("/keys/<string:key>")
class Key(Resource):
    """One key."""

    def get(self, key: str) -> dict[str, Any]:
        """Read it."""
        value = client.get(f"kv:{key}")
        if value is None:
            abort(404)
        return {key: value}

    def put(self, key: str) -> dict[str, Any]:
        """Write it."""
        client.set(f"kv:{key}", request.get_data())
        return {"stored": 1}

    def delete(self, key: str) -> dict[str, Any]:
        """Delete it."""
        return {"deleted": client.delete(f"kv:{key}")}
