"""Routes of the session and its workspaces, and the page at the end of a sign-in."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from clipperd.errors import (
    BrokerNotConfigured,
    BrokerUnreachable,
    ClipperdError,
    InvalidInput,
    NotFound,
    NotSignedIn,
    ReauthRequired,
    StorageFull,
    WorkspaceMismatch,
)
from clipperd.session.errors import (
    LoginDenied,
    LoginExpired,
    LoginOtherAccount,
    LoginStateUnknown,
    UnsentClips,
)
from clipperd.session.login import LoginStatus, Purpose, read_answer
from clipperd.session.view import SessionView, SessionWorkspace
from clipperd.web.keys import CLIPS, SESSION
from clipperd.web.routes import Route, answer, parse_body, parse_query

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem;"
    "color-scheme:light dark}h1{font-size:1.5rem}p{opacity:.8}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")

_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the hand-off token
    "X-Content-Type-Options": "nosniff",
}


class LoginBody(msgspec.Struct, forbid_unknown_fields=True):
    """How to sign in. ``device`` names this machine in the user's list of sessions."""

    return_to: Literal["app", "loopback"] = msgspec.field(name="return", default="app")
    purpose: Purpose = "sign_in"
    device: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class LoginStarted(msgspec.Struct):
    """The address to open in the user's browser, valid for ``expires_in`` seconds."""

    login_id: str
    login_url: str
    expires_in: int


class CallbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """The deep link that the app received."""

    url: Annotated[str, msgspec.Meta(max_length=8192)]


class CurrentBody(msgspec.Struct, forbid_unknown_fields=True):
    """The new current workspace."""

    workspace_id: str


class WorkspaceList(msgspec.Struct):
    """The connected workspaces of the signed-in user."""

    workspaces: list[SessionWorkspace]


class DisconnectQuery(msgspec.Struct, forbid_unknown_fields=True):
    """``confirm=1`` disconnects even if clips are waiting."""

    confirm: bool = False


async def start_login(request: web.Request) -> web.StreamResponse:
    """Start a sign-in."""
    body = await parse_body(request, LoginBody)
    started = await request.app[SESSION].start_login(body.return_to, body.purpose, body.device)
    return answer(LoginStarted(started.login_id, started.login_url, int(started.expires_in)))


async def show_login(request: web.Request) -> web.StreamResponse:
    """Return how far a sign-in is."""
    return answer(await request.app[SESSION].login_status(request.match_info["login_id"]))


async def cancel_login(request: web.Request) -> web.StreamResponse:
    """Cancel a sign-in."""
    await request.app[SESSION].cancel_login(request.match_info["login_id"])
    return web.Response(status=204)


async def complete_login(request: web.Request) -> web.StreamResponse:
    """Complete a sign-in with the deep link that the app received."""
    body = await parse_body(request, CallbackBody)
    return answer(await request.app[SESSION].finish_login(read_answer(body.url)))


async def show_login_page(request: web.Request) -> web.StreamResponse:
    """Complete a sign-in in the browser; every answer is a page for the user."""
    try:
        view = await request.app[SESSION].finish_login(
            read_answer(f"http://127.0.0.1{request.path_qs}")
        )
    except BrokerUnreachable as error:
        return _page(error.title, error.detail, "Reload this page to try again.", status=503)
    except StorageFull as error:
        return _page(error.title, error.detail, error.hint, status=507)
    except ClipperdError as error:
        return _page(error.title, error.detail, error.hint, status=400)
    name = view.user.name or view.user.email if view.user is not None else ""
    device = request.app[SESSION].device
    text = f"Notion Clipper on the device {device} now works in Notion as {name}."
    return _page("You are signed in", text, "You can close this window.")


async def get_session(request: web.Request) -> web.StreamResponse:
    """Return the session."""
    return answer(await request.app[SESSION].view())


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End the session; the queue stays and belongs to the user."""
    await request.app[SESSION].sign_out()
    return answer(await request.app[SESSION].view())


async def list_workspaces(request: web.Request) -> web.StreamResponse:
    """List the connected workspaces."""
    return answer(await _workspaces(request))


async def choose_workspace(request: web.Request) -> web.StreamResponse:
    """Set the workspace of requests that name none."""
    body = await parse_body(request, CurrentBody)
    await request.app[SESSION].set_current(body.workspace_id)
    return answer(await _workspaces(request))


async def disconnect_workspace(request: web.Request) -> web.StreamResponse:
    """Disconnect a workspace, unless clips are waiting for it."""
    query = parse_query(request, DisconnectQuery)
    session = request.app[SESSION]
    scope = await session.accounts.scope(request.match_info["id"])
    count = await request.app[CLIPS].unsent(scope.workspace_id)
    if count and not query.confirm:
        raise UnsentClips(
            "Clips are waiting for this workspace and could no longer be sent.",
            hint="Send ?confirm=1 to disconnect it anyway.",
            params={"count": count},
        )
    await session.disconnect(scope)
    return answer(await _workspaces(request))


async def _workspaces(request: web.Request) -> WorkspaceList:
    found = await request.app[SESSION].accounts.workspaces()
    return WorkspaceList([SessionWorkspace(w.id, w.name, w.icon, w.current) for w in found])


def _page(title: str, text: str, hint: str | None = None, status: int = 200) -> web.Response:
    """Render the page at the end of a sign-in. It has no script and loads nothing."""
    more = f"<p>{escape(hint)}</p>" if hint else ""
    return web.Response(
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers=_HEADERS,
        text=(
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)} – Notion Clipper</title><style>{_STYLE}</style>"
            f"<p>Notion Clipper</p><h1>{escape(title)}</h1><p>{escape(text)}</p>{more}</html>"
        ),
    )


_LOGIN_ERRORS = (
    LoginDenied,
    LoginExpired,
    LoginStateUnknown,
    LoginOtherAccount,
    BrokerUnreachable,
    InvalidInput,
)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/session/login",
        start_login,
        "admin",
        "Start a sign-in",
        body=LoginBody,
        answers={200: LoginStarted},
        errors=(NotSignedIn, BrokerNotConfigured, BrokerUnreachable),
    ),
    Route(
        "GET",
        "/v1/session/login/{login_id}",
        show_login,
        "admin",
        "How far a sign-in is, and why it failed",
        answers={200: LoginStatus},
        errors=(NotFound,),
    ),
    Route(
        "DELETE",
        "/v1/session/login/{login_id}",
        cancel_login,
        "admin",
        "Cancel a sign-in",
        answers={204: None},
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/v1/session/callback",
        complete_login,
        "admin",
        "Complete a sign-in with its deep link",
        body=CallbackBody,
        answers={200: SessionView},
        errors=_LOGIN_ERRORS,
    ),
    Route(
        "GET",
        "/v1/session/callback",
        show_login_page,
        "public",
        "The page that the browser opens after a sign-in",
        answers=dict.fromkeys((200, 400, 503, 507), "text/html"),
    ),
    Route(
        "GET",
        "/v1/session",
        get_session,
        "read",
        "The session and the signed-in user",
        answers={200: SessionView},
    ),
    Route(
        "DELETE",
        "/v1/session",
        sign_out,
        "admin",
        "Sign out; the queue stays",
        answers={200: SessionView},
    ),
    Route(
        "GET",
        "/v1/workspaces",
        list_workspaces,
        "read",
        "Connected workspaces",
        answers={200: WorkspaceList},
        errors=(NotSignedIn,),
    ),
    Route(
        "PUT",
        "/v1/workspaces/current",
        choose_workspace,
        "admin",
        "Set the current workspace",
        body=CurrentBody,
        answers={200: WorkspaceList},
        errors=(NotSignedIn, WorkspaceMismatch),
    ),
    Route(
        "DELETE",
        "/v1/workspaces/{id}",
        disconnect_workspace,
        "admin",
        "Disconnect a workspace",
        query=DisconnectQuery,
        answers={200: WorkspaceList},
        errors=(NotSignedIn, WorkspaceMismatch, UnsentClips, ReauthRequired, BrokerUnreachable),
    ),
)
