"""Notion's API through the broker, as one account."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any

from clipperd.broker.client import BrokerClient, decoded, server_date
from clipperd.broker.ratelimit import limits
from clipperd.broker.reply import Reply
from clipperd.errors import BrokerUnreachable, ReauthRequired
from clipperd.model import Scope
from clipperd.notion.port import Call, Form
from clipperd.session.session import Session

_PREFIX = "api/notion/proxy/v1/"


class BrokerNotion:
    """The ports ``transport.Notion`` and ``transport.Uploads`` over the broker's proxy."""

    def __init__(self, wire: BrokerClient, session: Session) -> None:
        """``session`` gives the tokens, ``wire`` leads to the broker."""
        self._wire = wire
        self._session = session

    async def send(self, scope: Scope, call: Call) -> Reply:
        """Send one request; see ``transport.Notion``.

        A broker that finds the access token too old has applied nothing, so the request is sent
        once more with a fresh one. A success that is not JSON was made by something in between:
        it counts as an answer that was lost.
        """
        token = await self._session.token_for(scope.user_id)
        headers = {"X-Workspace-Id": scope.workspace_id}
        if call.key is not None:  # whoever hears a refusal makes a new one
            headers |= {"Idempotency-Key": call.key, "Idempotency-Key-Use": "once"}
        headers |= {"Notion-Version": call.version} if call.version is not None else {}
        reply = await self._once(token, call.method, call.path, call.query, call.body, headers)
        if _expired(reply):
            token = await self._session.token_for(scope.user_id, stale=token)
            reply = await self._once(token, call.method, call.path, call.query, call.body, headers)
            if _expired(reply):
                raise BrokerUnreachable("The service does not accept its own session.", sent=False)
        return await self._believed(scope, token, reply)

    async def upload(self, scope: Scope, path: str, form: Form, version: str | None) -> Reply:
        """Send one part of a file; see ``transport.Uploads``."""
        token = await self._session.token_for(scope.user_id)
        headers = {"X-Workspace-Id": scope.workspace_id, "Content-Type": form.content_type}
        headers |= {} if form.size_bytes is None else {"Content-Length": str(form.size_bytes)}
        headers |= {"Notion-Version": version} if version is not None else {}
        reply = await self._once(token, "POST", path, None, form.pieces, headers)
        if _expired(reply):
            await self._session.token_for(scope.user_id, stale=token)
            raise BrokerUnreachable("The session was renewed meanwhile.", sent=False)
        return await self._believed(scope, token, reply)

    async def server_now(self, scope: Scope) -> float:
        """Return the server's time, which every answer with a token carries."""
        await self._session.token_for(scope.user_id)
        return self._wire.server_now()

    async def _believed(self, scope: Scope, token: str, reply: Reply) -> Reply:
        """The reply, unless it ends the session. Raises ReauthRequired then."""
        if reply.broker_code == "NOTION_TOKEN_INVALID":
            if not await self._session.expire(scope.user_id, token, "notion_token_invalid"):
                raise BrokerUnreachable("The session was renewed meanwhile.", sent=False)
            raise ReauthRequired(
                "Notion no longer accepts this connection. What is queued is safe.",
                hint="Sign in again to reconnect it.",
            )
        return reply

    async def _once(
        self,
        token: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> Reply:
        headers = {"Authorization": f"Bearer {token}", **headers}
        answer = await self._wire.call(
            method, _PREFIX + path, headers=headers, query=query, body=body
        )
        content = decoded(answer)
        if content is None and answer.body and 200 <= answer.status < 300:
            self._wire.connectivity.failed(sent=True)
            raise BrokerUnreachable("The service's answer was not understood.", sent=True)
        return Reply(
            status=answer.status,
            body=content,
            code=_text(content, "code"),
            broker_code=answer.headers.get("x-broker-code") or None,
            retry_after_s=self._wire.retry_after(answer.headers),
            date=server_date(answer),
            limits=limits(answer.headers),
        )


def _expired(reply: Reply) -> bool:
    return reply.status == 401 and reply.broker_code == "session_expired"


def _text(content: Any, name: str) -> str | None:
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else None
