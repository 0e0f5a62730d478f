"""Serves sign-in, tokens and sessions: ``/api/auth/…``."""

from __future__ import annotations

from math import ceil
from typing import Literal

import msgspec
from aiohttp import web

from cloud_broker.clock import rfc3339
from cloud_broker.errors import (
    BrokerError,
    InvalidGrant,
    InvalidInput,
    TooManyRequests,
    UnknownGrantType,
)
from cloud_broker.identity.oauth import CALLBACK_PATH
from cloud_broker.identity.sessions import Claims, IssuedTokens
from cloud_broker.identity.signin import CompletedSignIn, read_request
from cloud_broker.web.bodies import answer, read_body, signed_in
from cloud_broker.web.keys import (
    ACCOUNTS,
    RANDOMNESS,
    RATE_LIMIT,
    REQUEST_ID,
    SESSIONS,
    SETTINGS,
    SIGN_IN,
    SIGNER,
)
from cloud_broker.web.pages import open_app_page, private_headers, problem_page
from cloud_broker.web.problems import STATUS

JWKS_MAX_AGE_S = 300
SIGN_INS, CALLBACKS, TOKENS = 20, 40, 120  # per minute and address; a sign-in stores a row
ROUTES = web.RouteTableDef()


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A hand-off with its verifier, or a refresh token."""

    grant_type: str
    token: str | None = None
    code_verifier: str | None = None
    refresh_token: str | None = None


@ROUTES.get("/api/auth/notion", allow_head=False)
async def begin_sign_in(request: web.Request) -> web.StreamResponse:
    """Send the browser to Notion."""
    settings = request.app[SETTINGS]
    try:
        await request.app[RATE_LIMIT].by_address(request, "sign_in", SIGN_INS)
        asked = read_request(list(request.query.items()), settings.app_return_uris)
    except (InvalidInput, TooManyRequests) as error:
        return _refusal(request, error)
    try:
        begun = await request.app[SIGN_IN].begin(asked)
    except BrokerError as error:
        return _send_on(request, request.app[SIGN_IN].failed(asked, error))
    response = web.Response(status=302, headers={"Location": begun.url, **private_headers()})
    response.set_cookie(
        begun.cookie_name,
        begun.cookie_value.reveal(),
        max_age=600,
        path="/",
        httponly=True,
        secure=settings.is_https,
        samesite="Lax",
    )
    return response


@ROUTES.get(CALLBACK_PATH, allow_head=False)
async def complete_sign_in(request: web.Request) -> web.StreamResponse:
    """Complete the sign-in with Notion's answer and send the browser on to the daemon."""
    try:
        await request.app[RATE_LIMIT].by_address(request, "callback", CALLBACKS)
    except TooManyRequests as error:  # the state is unused: the same address works later
        return _refusal(request, error)
    sign_in = request.app[SIGN_IN]
    state = request.query.get("state", "")
    cookie = sign_in.cookie_name(state)
    try:
        completed = await sign_in.complete(
            state=state,
            browser=request.cookies.get(cookie),
            code=request.query.get("code"),
            error=request.query.get("error"),
        )
    except BrokerError as error:
        response = _refusal(request, error)
    else:
        response = _send_on(request, completed)
    response.del_cookie(
        cookie, path="/", secure=request.app[SETTINGS].is_https, httponly=True, samesite="Lax"
    )
    return response


def _send_on(request: web.Request, completed: CompletedSignIn) -> web.Response:
    if completed.is_loopback:
        return web.Response(status=302, headers={"Location": completed.url, **private_headers()})
    failure = completed.failure
    if failure is not None and not _wants_page(request):
        raise failure
    return open_app_page(
        completed,
        status=200 if failure is None else STATUS[failure.kind],
        request_id=request[REQUEST_ID],
        randomness=request.app[RANDOMNESS],
    )


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get("Accept", "")


def _refusal(request: web.Request, error: BrokerError) -> web.Response:
    """Return a page for a browser; raise the error for a client that did not ask for HTML."""
    if not _wants_page(request):
        raise error
    page = problem_page(
        error,
        status=STATUS[error.kind],
        request_id=request[REQUEST_ID],
        randomness=request.app[RANDOMNESS],
    )
    if error.retry_after is not None:
        page.headers["Retry-After"] = str(max(1, ceil(error.retry_after)))
    return page


@ROUTES.post("/api/auth/token")
async def token(request: web.Request) -> web.StreamResponse:
    """Exchange a hand-off or a refresh token for an access token."""
    await request.app[RATE_LIMIT].by_address(request, "token", TOKENS)
    body = await read_body(request, TokenRequest)
    sessions = request.app[SESSIONS]
    if body.grant_type == "handoff":
        # A missing verifier counts as a wrong one: the hand-off is used up either way.
        issued = await sessions.redeem(_present(body, "token"), body.code_verifier or "")
    elif body.grant_type == "refresh_token":
        issued = await sessions.refresh(_present(body, "refresh_token"))
    else:
        raise UnknownGrantType("grant_type must be handoff or refresh_token.")
    return answer(await _token_answer(request, issued))


async def _token_answer(request: web.Request, issued: IssuedTokens) -> dict[str, object]:
    summary = await request.app[ACCOUNTS].summary(issued.user_id)
    return {
        "access_token": issued.access_token.reveal(),
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "refresh_token": issued.refresh_token.reveal(),
        **summary,
    }


def _present(body: TokenRequest, name: Literal["token", "refresh_token"]) -> str:
    value: str | None = getattr(body, name)
    if value is None:
        raise InvalidInput(
            f"{name} is missing.", errors=[{"pointer": f"/{name}", "code": "missing"}]
        )
    if len(value) > 4096:
        raise InvalidGrant("This sign-in is unknown or has expired.")
    return value


@ROUTES.post("/api/auth/logout")
@signed_in
async def logout(request: web.Request, claims: Claims) -> web.StreamResponse:
    """End the session of the access token."""
    await request.app[SESSIONS].revoke(claims.user_id, claims.session_id, why="logout")
    return web.Response(status=204)


@ROUTES.get("/api/auth/sessions")
@signed_in
async def sessions(request: web.Request, claims: Claims) -> web.StreamResponse:
    """List the account's sessions, the last used first."""
    found = await request.app[SESSIONS].sessions_of(claims.user_id)
    listed = [
        {
            "id": row["id"],
            "device": row["device"],
            "created_at": rfc3339(row["created_at"] / 1000),
            "last_used_at": rfc3339(row["last_used_at"] / 1000),
            "expires_at": rfc3339(row["expires_at"] / 1000),
            "current": row["id"] == claims.session_id,
        }
        for row in found
    ]
    return answer({"sessions": listed})


@ROUTES.delete("/api/auth/sessions/{session_id}")
@signed_in
async def end_session(request: web.Request, claims: Claims) -> web.StreamResponse:
    """End one of the account's sessions."""
    session_id = request.match_info["session_id"]
    await request.app[SESSIONS].revoke(claims.user_id, session_id, why="revoked_by_user")
    return web.Response(status=204)


@ROUTES.get("/.well-known/jwks.json")
async def jwks(request: web.Request) -> web.StreamResponse:
    """Return the keys that verify access tokens."""
    return answer(
        request.app[SIGNER].public_keys(),
        headers={"Cache-Control": f"public, max-age={JWKS_MAX_AGE_S}"},
    )
