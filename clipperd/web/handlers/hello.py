"""Before a client trusts the daemon: is it up, and is it the real one?

A program that squats on the port knows no token, so it cannot answer hello; the client checks
the proof before it sends its own token.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

import msgspec
from aiohttp import web

from clipperd.errors import NotFound
from clipperd.web.keys import ACCESS
from clipperd.web.middleware.chain import port_of
from clipperd.web.routes import Route, answer, parse_body


class Alive(msgspec.Struct):
    """All that a stranger may learn."""

    ok: bool
    api: int


class HelloBody(msgspec.Struct, forbid_unknown_fields=True):
    """``nonce``: fresh, random, of the client's making.

    It may hold no colon: with one, a squatter could pass on our proof for another nonce, port
    and instance id that read the same when joined.
    """

    nonce: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern="^[^:\\s]+$")]
    client_id: str | None = None


class Proof(msgspec.Struct):
    """``proof``: 64 hex digits."""

    proof: str
    instance_id: str


def proof(key: bytes, nonce: str, port: int, instance_id: str) -> str:
    """Hex HMAC-SHA256 over ``nonce:port:instance_id``; ``key`` is SHA-256 of the token."""
    message = f"{nonce}:{port}:{instance_id}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


async def _healthz(_request: web.Request) -> web.Response:
    return answer(Alive(ok=True, api=1))


async def _hello(request: web.Request) -> web.Response:
    body = await parse_body(request, HelloBody)
    access = request.app[ACCESS]
    key = access.proof_key(body.client_id)
    if key is None:
        raise NotFound("There is no such client.", hint="It may have been revoked.")
    instance_id = access.instance_id
    return answer(Proof(proof(key, body.nonce, port_of(request), instance_id), instance_id))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/healthz", _healthz, "public", "Is it up", answers={200: Alive}),
    Route(
        "POST",
        "/v1/hello",
        _hello,
        "public",
        "Let the daemon prove that it knows the token",
        body=HelloBody,
        answers={200: Proof},
        errors=(NotFound,),
    ),
)
