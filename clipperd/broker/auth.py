"""The broker's auth routes: hand-off and refresh for tokens, sign-out, disconnecting."""

from __future__ import annotations

from typing import Any

import msgspec

from clipperd.broker.client import BrokerClient, decoded
from clipperd.broker.http import Answer
from clipperd.errors import BrokerUnreachable
from clipperd.model import notion_id

_AUTH_S = 15.0  # no Notion call waits behind these, but a person may


class User(msgspec.Struct, frozen=True):
    """Who signed in."""

    id: str
    email: str = ""
    name: str | None = None
    avatar_url: str | None = None


class GrantedWorkspace(msgspec.Struct, frozen=True):
    """A workspace that the account is connected to, and our bot's user id in it."""

    id: str
    name: str | None = None
    icon: str | None = None
    bot_id: str | None = None


class Subscription(msgspec.Struct, frozen=True):
    """What the account pays for."""

    tier: str | None = None
    status: str | None = None


class Tokens(msgspec.Struct, frozen=True):
    """The answer of ``POST /api/auth/token``. Unknown fields are the broker's future."""

    access_token: str
    expires_in: float
    refresh_token: str
    user: User
    workspaces: tuple[GrantedWorkspace, ...] | None = None
    subscription: Subscription | None = None

    def __repr__(self) -> str:
        """Name the user, never a token."""
        return f"Tokens(user={self.user.id!r})"


class Refused(Exception):
    """The broker understood and said no, in words (``code``) of its own."""

    def __init__(self, status: int, code: str) -> None:
        """Keep the HTTP status and the broker's code."""
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


class BrokerAuth:
    """Typed calls of the auth routes. All raise BrokerUnreachable; refusals raise Refused."""

    def __init__(self, wire: BrokerClient) -> None:
        """``wire`` leads to the broker."""
        self._wire = wire

    async def exchange(self, handoff: str, verifier: str) -> Tokens:
        """Turn the hand-off token of a finished sign-in into a session."""
        return await self._tokens(
            {"grant_type": "handoff", "token": handoff, "code_verifier": verifier}
        )

    async def refresh(self, refresh_token: str) -> Tokens:
        """Turn a refresh token into the next pair of tokens."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def logout(self, access_token: str) -> bool:
        """End the session of ``access_token``; False when that token is not good any more."""
        answer = await self._wire.call(
            "POST", "api/auth/logout", headers=_bearer(access_token), total_s=_AUTH_S
        )
        if answer.status == 401:
            return False
        self._settled(answer)
        return True

    async def limits(self, access_token: str) -> dict[str, Any] | None:
        """What the account may do, as the broker words it; None when it does not say."""
        answer = await self._wire.call(
            "GET", "api/user/me", headers=_bearer(access_token), total_s=_AUTH_S
        )
        self._settled(answer)
        body = decoded(answer)
        found = body.get("limits") if isinstance(body, dict) else None
        return found if isinstance(found, dict) else None

    async def disconnect(self, access_token: str, workspace_id: str) -> None:
        """Disconnect a workspace; one that is gone already is as good."""
        answer = await self._wire.call(
            "DELETE",
            f"api/workspaces/{workspace_id}",
            headers=_bearer(access_token),
            total_s=_AUTH_S,
        )
        if answer.status != 404:
            self._settled(answer)

    async def _tokens(self, body: dict[str, str]) -> Tokens:
        answer = await self._wire.call(
            "POST", "api/auth/token", body=msgspec.json.encode(body), total_s=_AUTH_S
        )
        self._settled(answer)
        try:
            tokens = msgspec.json.decode(answer.body, type=Tokens)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._wire.connectivity.failed(sent=True)
            # The decoding error would quote the answer, and with it the tokens.
            raise BrokerUnreachable(
                f"The service's answer was not understood ({type(error).__name__}).", sent=True
            ) from None
        named = tokens.workspaces
        if named is not None:
            named = tuple(msgspec.structs.replace(w, id=notion_id(w.id) or w.id) for w in named)
        return msgspec.structs.replace(tokens, workspaces=named)

    def _settled(self, answer: Answer) -> None:
        """Pass a success. A no in the broker's own form is Refused, all else a broken service."""
        if 200 <= answer.status < 300:
            return
        body = decoded(answer)
        code = body.get("code") or body.get("error") if isinstance(body, dict) else None
        if answer.status in (400, 401, 403, 404, 409, 410, 422) and isinstance(code, str):
            raise Refused(answer.status, code)
        error = BrokerUnreachable(
            f"The service cannot do that now (status {answer.status}).", sent=True
        )
        error.retry_after = self._wire.retry_after(answer)
        raise error


def _bearer(access_token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access_token}"}
