"""The same with FastAPI and redis-py's asyncio client, as tutorials write it; uvicorn runs it."""

import os
from typing import cast

import redis.asyncio
from fastapi import FastAPI, HTTPException, Request, Response


app = FastAPI()
client = redis.asyncio.Redis.from_url(os.environ["FLASKVSTORE_REDIS_URL"])


@app.api_route("/keys/{key}", methods=["GET", "HEAD"])
async def get(key: str) -> dict[str, str]:
    """Read a key."""
    return {key: (await _value(key)).decode()}


@app.get("/values/{key}")
async def get_bytes(key: str) -> Response:
    """Read the bytes of a key."""
    return Response(await _value(key), media_type="application/octet-stream")


@app.put("/keys/{key}")
async def put(key: str, request: Request) -> dict[str, int]:
    """Write a key."""
    await client.set(f"kv:{key}", await request.body())
    return {"stored": 1}


@app.delete("/keys/{key}")
async def delete(key: str) -> dict[str, int]:
    """Delete a key."""
    return {"deleted": await client.delete(f"kv:{key}")}


async def _value(key: str) -> bytes:
    value = await client.get(f"kv:{key}")
    if value is None:
        raise HTTPException(404)
    return cast("bytes", value)
