"""Calls the broker's auth routes: get and refresh tokens, sign out, disconnect a workspace."""

from __future__ import annotations

from typing import Any

import msgspec

from clipperd.broker.client import BrokerClient, decoded, problem_code
from clipperd.broker.http import Answer
from clipperd.errors import BrokerUnreachable
from clipperd.model import notion_id

_CHECK_S = 8.0  # a user waits for the address of a sign-in
_AUTH_S = 15.0  # a user may wait for these, so less than a Notion call gets


class User(msgspec.Struct, frozen=True):
    """The user who signed in."""

    id: str
    email: str = ""
    name: str | None = None
    avatar_url: str | None = None


class GrantedWorkspace(msgspec.Struct, frozen=True):
    """A workspace that the account is connected to; ``bot_id``: our bot's user id in it."""

    id: str
    name: str | None = None
    icon: str | None = None
    bot_id: str | None = None


class Subscription(msgspec.Struct, frozen=True):
    """The account's subscription."""

    tier: str | None = None
    status: str | None = None


class Tokens(msgspec.Struct, frozen=True):
    """The answer of ``POST /api/auth/token``; fields that a newer broker adds are ignored."""

    access_token: str
    expires_in: float
    refresh_token: str
    user: User
    workspaces: tuple[GrantedWorkspace, ...] | None = None
    subscription: Subscription | None = None

    def __repr__(self) -> str:
        """Name the user, never a token."""
        return f"Tokens(user={self.user.id!r})"


class Profile(msgspec.Struct, frozen=True):
    """The answer of ``GET /api/user/me``; fields that a newer broker adds are ignored."""

    subscription: Subscription | None = None
    limits: dict[str, Any] | None = None


class AuthRefused(Exception):
    """The broker refused the request, with an HTTP status and a code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


class BrokerAuth:
    """Typed calls of the auth routes. All raise BrokerUnreachable and AuthRefused."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    async def check(self) -> None:
        """Ask whether a broker answers. Raises BrokerUnreachable, BrokerNotConfigured."""
        answer = await self._client.call("GET", "healthz", total_s=_CHECK_S)
        if answer.status != 200 or not isinstance(decoded(answer), dict):
            raise BrokerUnreachable(
                "The address of the service answers, but not as the service does"
                f" (status {answer.status}). Check the setting broker_url.",
                sent=True,
            )

    async def exchange(self, handoff: str, verifier: str) -> Tokens:
        """Exchange the hand-off token of a sign-in for a session."""
        return await self._tokens(
            {"grant_type": "handoff", "token": handoff, "code_verifier": verifier}
        )

    async def refresh(self, refresh_token: str) -> Tokens:
        """Exchange a refresh token for the next pair of tokens."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def logout(self, access_token: str) -> bool:
        """End the session of ``access_token``; return False if that token has expired."""
        answer = await self._client.call(
            "POST", "api/auth/logout", headers=_bearer(access_token), total_s=_AUTH_S
        )
        if problem_code(answer) == "session_expired":
            return False
        self._check(answer)
        return True

    async def profile(self, access_token: str) -> Profile:
        """Return the account as the broker knows it now; parts that it omits are None."""
        answer = await self._client.call(
            "GET", "api/user/me", headers=_bearer(access_token), total_s=_AUTH_S
        )
        self._check(answer)
        try:
            return msgspec.json.decode(answer.body, type=Profile)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Profile()

    async def disconnect(self, access_token: str, workspace_id: str) -> None:
        """Disconnect a workspace; does nothing if it is gone already."""
        answer = await self._client.call(
            "DELETE",
            f"api/workspaces/{workspace_id}",
            headers=_bearer(access_token),
            total_s=_AUTH_S,
        )
        if problem_code(answer) != "not_found":
            self._check(answer)

    async def _tokens(self, body: dict[str, str]) -> Tokens:
        answer = await self._client.call(
            "POST", "api/auth/token", body=msgspec.json.encode(body), total_s=_AUTH_S
        )
        self._check(answer)
        try:
            tokens = msgspec.json.decode(answer.body, type=Tokens)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._client.connectivity.failed(sent=True)
            # The decoding error would quote the tokens.
            raise BrokerUnreachable(
                f"The service sent an unreadable answer ({type(error).__name__}).", sent=True
            ) from None
        found = tokens.workspaces
        if found is not None:
            found = tuple(msgspec.structs.replace(w, id=notion_id(w.id) or w.id) for w in found)
        return msgspec.structs.replace(tokens, workspaces=found)

    def _check(self, answer: Answer) -> None:
        """Raise AuthRefused for a refusal of the broker, BrokerUnreachable for any other error."""
        if 200 <= answer.status < 300:
            return
        code = problem_code(answer)
        if answer.status in (400, 401, 403, 404, 409, 410, 422) and code is not None:
            raise AuthRefused(answer.status, code)
        error = BrokerUnreachable(
            f"The service cannot do that now (status {answer.status}).", sent=True
        )
        error.retry_after = self._client.retry_after(answer.headers)
        raise error


def _bearer(access_token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access_token}"}
