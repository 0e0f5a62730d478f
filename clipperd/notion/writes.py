"""Reads the broker's record of the account's writes, and reports outcomes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from clipperd.broker.client import BrokerClient, problem_code
from clipperd.broker.http import Answer
from clipperd.broker.reply import Reply
from clipperd.clock import from_rfc3339, rfc3339
from clipperd.errors import ReadFailed
from clipperd.model import Scope
from clipperd.notion.port import Remembered, Write
from clipperd.session.session import Session

_PATH = "api/notion/writes"


class _RecordedWrite(msgspec.Struct):
    key: str
    address: str
    content: str
    created: tuple[str, ...] | None = None


class _Listing(msgspec.Struct):
    writes: list[_RecordedWrite]
    since: str | None = msgspec.field(default=None, name="from")


class BrokerWrites:
    """Implements the port ``Writes``. A broker without the route has no record."""

    def __init__(self, client: BrokerClient, session: Session) -> None:
        self._client = client
        self._session = session

    async def since(self, scope: Scope, at: float) -> Remembered:
        """Return the writes since ``at``; see ``Writes``."""
        answer = await self._call(scope, "GET", _PATH, query={"since": rfc3339(at)})
        if problem_code(answer) == "not_found":
            return Remembered(())
        if answer.status != 200:
            raise self._failed(answer)
        try:
            found = msgspec.json.decode(answer.body, type=_Listing)
            whole = found.since is None or from_rfc3339(found.since) <= at
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            raise self._failed(answer) from None
        writes = (
            Write(each.key, each.created, each.address, each.content) for each in found.writes
        )
        return Remembered(tuple(writes), whole)

    async def settled(self, scope: Scope, key: str, created: Sequence[str]) -> None:
        """Report an outcome; see ``Writes``."""
        body = msgspec.json.encode({"created": list(created)})
        answer = await self._call(scope, "PUT", f"{_PATH}/{key}", body=body)
        if answer.status != 204 and problem_code(answer) != "not_found":
            raise self._failed(answer)

    async def _call(
        self,
        scope: Scope,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        async def once(token: str) -> Answer:
            headers = {"Authorization": f"Bearer {token}", "X-Workspace-Id": scope.workspace_id}
            return await self._client.call(method, path, headers=headers, query=query, body=body)

        token = await self._session.token_for(scope.user_id)
        answer = await once(token)
        if problem_code(answer) == "session_expired":
            answer = await once(await self._session.token_for(scope.user_id, stale=token))
        return answer

    def _failed(self, answer: Answer) -> ReadFailed:
        """Return the error to raise: a 503, because a 429 would concern calls to Notion."""
        return ReadFailed(Reply(503, retry_after_s=self._client.retry_after(answer.headers)))
