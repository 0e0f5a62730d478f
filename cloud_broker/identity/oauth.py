"""Calls Notion's OAuth endpoints and parses their replies.

https://developers.notion.com/docs/authorization,
https://developers.notion.com/reference/refresh-a-token
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from yarl import URL

from cloud_broker.errors import NotionUnavailable
from cloud_broker.secret import Secret
from cloud_broker.transport import Response, Transport, TransportError

CALLBACK_PATH = "/api/auth/notion/callback"  # Notion redirects the browser to it
DEADLINE_S = 20.0  # seconds for one call; well below the refresh lease
MAX_BYTES = 100_000


class GrantEnded(Exception):
    """Notion no longer accepts the code or refresh token (``invalid_grant``)."""


class _Person(msgspec.Struct):
    email: str | None = None


class _User(msgspec.Struct):
    id: str
    name: str | None = None
    avatar_url: str | None = None
    person: _Person | None = None


class _Owner(msgspec.Struct):
    type: str | None = None
    user: _User | None = None


class _GrantReply(msgspec.Struct):
    access_token: str
    bot_id: str
    workspace_id: str
    refresh_token: str | None = None
    workspace_name: str | None = None
    workspace_icon: str | None = None
    owner: _Owner | None = None


class _PairReply(msgspec.Struct):
    access_token: str
    refresh_token: str | None = None


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The result of a refresh. ``refresh_token`` None: keep the old one."""

    access_token: Secret
    refresh_token: Secret | None


@dataclass(frozen=True, slots=True)
class NotionUser:
    """The user who authorized the connection, as Notion reports."""

    id: str
    name: str | None
    email: str | None
    avatar_url: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The result of an authorization code. ``owner`` None: the workspace owns the bot."""

    tokens: TokenPair
    bot_id: str
    workspace_id: str
    workspace_name: str | None
    workspace_icon: str | None
    owner: NotionUser | None


class NotionOAuth:
    """The client of Notion's OAuth endpoints, with this broker's credentials."""

    def __init__(
        self,
        transport: Transport,
        *,
        api_url: str,
        version: str,
        client_id: str,
        client_secret: Secret,
        callback_url: str,
    ) -> None:
        """Take the origin of Notion's API and the registered redirect address."""
        self._transport = transport
        self._origin = URL(api_url)
        self._version = version
        self._client_id = client_id
        self._client_secret = client_secret
        self._callback_url = callback_url

    def authorize_url(self, state: str) -> str:
        """Return the address of Notion's consent page."""
        query = {
            "client_id": self._client_id,
            "redirect_uri": self._callback_url,
            "response_type": "code",
            "owner": "user",
            "state": state,
        }
        return str(self._url("authorize").with_query(query))

    async def exchange(self, code: str) -> Grant:
        """Turn an authorization code into tokens. Raises GrantEnded or NotionUnavailable."""
        reply = await self._post(
            "token",
            {"grant_type": "authorization_code", "code": code, "redirect_uri": self._callback_url},
        )
        return _read_grant(_accepted(reply))

    async def refresh(
        self, refresh_token: Secret, before_send: Callable[[], None] | None = None
    ) -> TokenPair:
        """Trade a refresh token for a new pair. Raises GrantEnded or NotionUnavailable.

        ``before_send`` is the last check before the first byte; its errors are passed on.
        """
        reply = await self._post(
            "token",
            {"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()},
            before_send,
        )
        return _read_pair(_accepted(reply))

    async def revoke(self, token: Secret) -> None:
        """Revoke a token; an invalid token counts as revoked. Raises NotionUnavailable."""
        reply = await self._post("revoke", {"token": token.reveal()})
        if reply.status == 200 or (reply.status == 400 and error_code(reply.body)):
            return
        raise _unavailable(reply.status)

    async def _post(
        self,
        endpoint: str,
        body: Mapping[str, str],
        before_send: Callable[[], None] | None = None,
    ) -> Response:
        pair = f"{self._client_id}:{self._client_secret.reveal()}".encode()
        headers = {
            "Authorization": f"Basic {base64.b64encode(pair).decode()}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Notion-Version": self._version,
        }
        try:
            return await self._transport.send(
                "POST",
                self._url(endpoint),
                headers=headers,
                body=msgspec.json.encode(body),
                deadline=DEADLINE_S,
                max_bytes=MAX_BYTES,
                before_send=before_send,
            )
        except TransportError as error:
            raise NotionUnavailable("Notion could not be reached.", retry_after=5) from error

    def _url(self, endpoint: str) -> URL:
        return self._origin.with_path(f"/v1/oauth/{endpoint}")


def error_code(body: bytes) -> str | None:
    """Return the code of an error body in either of Notion's shapes, ``error`` or ``code``."""
    try:
        value: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    if not isinstance(value, dict):
        return None
    code = value.get("code") or value.get("error")
    return code if isinstance(code, str) else None


def _accepted(reply: Response) -> bytes:
    if reply.status == 200:
        return reply.body
    if reply.status in {400, 401} and error_code(reply.body) == "invalid_grant":
        raise GrantEnded
    raise _unavailable(reply.status)


def _unavailable(status: int) -> NotionUnavailable:
    return NotionUnavailable(f"Notion answered {status} to the broker.", retry_after=5)


def _read_grant(body: bytes) -> Grant:
    try:
        reply = msgspec.json.decode(body, type=_GrantReply)
    except msgspec.MsgspecError:  # not chained: the cause may quote tokens of the reply
        raise NotionUnavailable("Notion's answer could not be read.") from None
    user = reply.owner.user if reply.owner else None
    owner = None
    if user is not None:
        email = user.person.email if user.person else None
        owner = NotionUser(user.id, user.name, email, user.avatar_url)
    return Grant(
        tokens=_pair(reply.access_token, reply.refresh_token),
        bot_id=reply.bot_id,
        workspace_id=reply.workspace_id,
        workspace_name=reply.workspace_name,
        workspace_icon=reply.workspace_icon,
        owner=owner,
    )


def _read_pair(body: bytes) -> TokenPair:
    try:
        reply = msgspec.json.decode(body, type=_PairReply)
    except msgspec.MsgspecError:
        raise NotionUnavailable("Notion's answer could not be read.") from None
    return _pair(reply.access_token, reply.refresh_token)


def _pair(access: str, refresh: str | None) -> TokenPair:
    return TokenPair(Secret(access), Secret(refresh) if refresh else None)
