"""Implements the OAuth endpoints with client secret: token, revoke, introspect."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

from cloud_broker.sandbox import grants
from cloud_broker.sandbox.api.call import Answer, Call, Endpoint
from cloud_broker.sandbox.model import Json
from cloud_broker.sandbox.world import World


def check_client(world: World, authorization: str) -> str:
    """Return the client of ``Basic base64(client_id:client_secret)``; raise otherwise."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        said = base64.b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
    except binascii.Error:
        said = b""
    for known in world.integrations.values():
        wanted = f"{known.client_id}:{known.client_secret}".encode()
        if hmac.compare_digest(said, wanted):
            return known.client_id
    raise grants.refusal(world, "invalid_client", "Client authentication failed.", 401)


def token(call: Call) -> Answer:
    """POST /oauth/token: exchange a code or a refresh token for a new pair."""
    body = _object(call)
    kind = body.get("grant_type")
    if kind == "authorization_code":
        redirect_uri = body.get("redirect_uri")
        if redirect_uri is not None:
            redirect_uri = _text(call, body, "redirect_uri")
        code = _text(call, body, "code")
        made = grants.exchange(call.world, call.token.client_id, code, redirect_uri)
    elif kind == "refresh_token":
        refresh = _text(call, body, "refresh_token")
        made = grants.renew(call.world, call.token.client_id, refresh)
    else:
        raise grants.refusal(call.world, "unsupported_grant_type", "Unsupported grant_type.")
    return Answer(grants.granted(call.world, made))


def revoke(call: Call) -> Answer:
    """POST /oauth/revoke: end the pair."""
    grants.revoke(call.world, _text(call, _object(call), "token"))
    return Answer({})


def introspect(call: Call) -> Answer:
    """POST /oauth/introspect: whether the access token is valid, and its time of issue."""
    found = grants.current(call.world, _text(call, _object(call), "token"))
    if found is None:
        return Answer({"active": False})
    scope = " ".join(sorted(found.capabilities))
    return Answer({"active": True, "scope": scope, "iat": int(found.issued_at)})


def _object(call: Call) -> Json:
    if not isinstance(call.body, dict):
        raise grants.refusal(call.world, "invalid_request", "The body should be an object.")
    return call.body


def _text(call: Call, body: Json, key: str) -> str:
    value: Any = body.get(key)
    if not isinstance(value, str) or not value:
        raise grants.refusal(call.world, "invalid_request", f"Missing required parameter: {key}.")
    return value


ENDPOINTS = (
    Endpoint("POST", "oauth/token", token, "any", auth="basic"),
    Endpoint("POST", "oauth/revoke", revoke, "any", auth="basic"),
    Endpoint("POST", "oauth/introspect", introspect, "any", auth="basic"),
)
