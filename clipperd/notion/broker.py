"""Calls Notion's API through the broker's proxy, with the session of one account."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any

from clipperd.broker.client import BrokerClient, decoded, server_date
from clipperd.broker.http import Answer
from clipperd.broker.ratelimit import limits
from clipperd.broker.reply import Reply
from clipperd.errors import BrokerUnreachable, ReauthRequired
from clipperd.model import Scope
from clipperd.notion.port import Call, Form
from clipperd.session.session import Session

_PREFIX = "api/notion/proxy/v1/"


class BrokerNotion:
    """Implements the ports ``Notion`` and ``Uploads``."""

    def __init__(self, client: BrokerClient, session: Session) -> None:
        self._client = client
        self._session = session

    async def send(self, scope: Scope, call: Call) -> Reply:
        """Send one request; see ``Notion``.

        A broker that refuses an expired access token has applied nothing, so this sends the
        request again with a fresh one. A success that is not JSON comes from a proxy in between
        and counts as a lost answer.
        """
        token = await self._session.token_for(scope.user_id)
        headers = {"X-Workspace-Id": scope.workspace_id}
        if call.key is not None:  # each key is used once: a refused call gets a new one
            headers |= {"Idempotency-Key": call.key, "Idempotency-Key-Use": "once"}
        headers |= {"X-Outbox": call.outbox} if call.outbox is not None else {}
        headers |= {"Notion-Version": call.version} if call.version is not None else {}
        reply = await self._send_once(token, call.method, call.path, call.query, call.body, headers)
        if _expired(reply):
            token = await self._session.token_for(scope.user_id, stale=token)
            reply = await self._send_once(
                token, call.method, call.path, call.query, call.body, headers
            )
            if _expired(reply):
                raise BrokerUnreachable(
                    "The service refused the session that it just renewed.", sent=False
                )
        return await self._check(scope, token, reply)

    async def upload(self, scope: Scope, path: str, form: Form, version: str | None) -> Reply:
        """Send one part of a file; see ``Uploads``."""
        token = await self._session.token_for(scope.user_id)
        headers = {"X-Workspace-Id": scope.workspace_id, "Content-Type": form.content_type}
        headers |= {} if form.size_bytes is None else {"Content-Length": str(form.size_bytes)}
        headers |= {"Notion-Version": version} if version is not None else {}
        reply = await self._send_once(token, "POST", path, None, form.pieces, headers)
        if _expired(reply):
            await self._session.token_for(scope.user_id, stale=token)
            raise BrokerUnreachable(
                "The session was renewed during the call. Try again.", sent=False
            )
        return await self._check(scope, token, reply)

    async def server_now(self, scope: Scope) -> float:
        """Return the server's time, which every answer with a token carries."""
        await self._session.token_for(scope.user_id)
        return self._client.server_now()

    async def _check(self, scope: Scope, token: str, reply: Reply) -> Reply:
        """Return the reply. Raises ReauthRequired if it ends the session."""
        if reply.broker_code == "NOTION_TOKEN_INVALID":
            if not await self._session.expire(scope.user_id, token, "notion_token_invalid"):
                raise BrokerUnreachable(
                    "The session was renewed during the call. Try again.", sent=False
                )
            raise ReauthRequired(
                "Notion no longer accepts this connection. Your queued clips are safe.",
                hint="Sign in again to reconnect it.",
            )
        return reply

    async def _send_once(
        self,
        token: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> Reply:
        headers = {"Authorization": f"Bearer {token}", **headers}
        answer = await self._client.call(
            method, _PREFIX + path, headers=headers, query=query, body=body
        )
        content = decoded(answer)
        if not _is_own(answer, content):
            self._client.connectivity.failed(sent=True)
            error = BrokerUnreachable(
                f"Something other than the service answered (status {answer.status}).", sent=True
            )
            error.retry_after = self._client.retry_after(answer.headers)
            raise error
        return Reply(
            status=answer.status,
            body=content,
            code=_text(content, "code"),
            broker_code=answer.headers.get("x-broker-code") or None,
            retry_after_s=self._client.retry_after(answer.headers),
            date=server_date(answer),
            limits=limits(answer.headers),
        )


def _is_own(answer: Answer, content: Any) -> bool:
    """Return whether Notion or the broker made this answer, and not a gateway in between.

    Every object of Notion names its type; an error repeats its status and has a code. The broker
    gives its own errors the same form. https://developers.notion.com/reference/status-codes
    """
    if not isinstance(content, dict) or not isinstance(content.get("object"), str):
        return False
    if answer.status < 400:
        return str(content["object"]) != "error"
    is_error = str(content["object"]) == "error" and isinstance(content.get("code"), str)
    return is_error and bool(content.get("status", answer.status) == answer.status)


def _expired(reply: Reply) -> bool:
    return reply.status == 401 and reply.broker_code == "session_expired"


def _text(content: Any, name: str) -> str | None:
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else None
