"""``GET /healthz`` and ``POST /v1/hello``: the daemon proves its identity to a client.

Another program on the port does not know the token and cannot compute the proof. The client
checks the proof before it sends its token.
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
    """The public answer: the daemon is up."""

    ok: bool
    api: int


class HelloBody(msgspec.Struct, forbid_unknown_fields=True):
    """``nonce``: fresh random text from the client.

    It must not hold a colon. With one, another program could relay a proof for a different nonce,
    port and instance id that are equal when joined.
    """

    nonce: Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern="^[^:\\s]+$")]
    client_id: str | None = None


class Proof(msgspec.Struct):
    """``proof``: 64 hex digits."""

    proof: str
    instance_id: str


def proof(key: bytes, nonce: str, port: int, instance_id: str) -> str:
    """Return the hex HMAC-SHA256 of ``nonce:port:instance_id``; ``key``: SHA-256 of the token."""
    message = f"{nonce}:{port}:{instance_id}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


async def _check_alive(_request: web.Request) -> web.Response:
    return answer(Alive(ok=True, api=1))


async def _prove_identity(request: web.Request) -> web.Response:
    body = await parse_body(request, HelloBody)
    access = request.app[ACCESS]
    key = access.proof_key(body.client_id)
    if key is None:
        raise NotFound("There is no client with this id.", hint="It may have been revoked.")
    instance_id = access.instance_id
    return answer(Proof(proof(key, body.nonce, port_of(request), instance_id), instance_id))


ROUTES: tuple[Route, ...] = (
    Route(
        "GET", "/healthz", _check_alive, "public", "Whether the daemon is up", answers={200: Alive}
    ),
    Route(
        "POST",
        "/v1/hello",
        _prove_identity,
        "public",
        "Make the daemon prove that it knows the token",
        body=HelloBody,
        answers={200: Proof},
        errors=(NotFound,),
    ),
)
