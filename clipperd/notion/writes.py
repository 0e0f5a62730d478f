"""The broker's record of the account's writes: the port ``transport.Writes`` over its own route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from clipperd.broker.client import BrokerClient
from clipperd.broker.http import Answer
from clipperd.broker.reply import Reply
from clipperd.clock import from_rfc3339, rfc3339
from clipperd.errors import ReadFailed
from clipperd.model import Scope
from clipperd.notion.port import Remembered, Write
from clipperd.session.session import Session

_PATH = "api/notion/writes"


class _Told(msgspec.Struct):
    key: str
    address: str
    content: str
    created: tuple[str, ...] | None = None


class _Listing(msgspec.Struct):
    writes: list[_Told]
    since: str | None = msgspec.field(default=None, name="from")


class BrokerWrites:
    """Asks and tells under one account. A broker without the route remembers nothing."""

    def __init__(self, wire: BrokerClient, session: Session) -> None:
        """``session`` gives the tokens, ``wire`` leads to the broker."""
        self._wire = wire
        self._session = session

    async def since(self, scope: Scope, at: float) -> Remembered:
        """The writes since then; see the port."""
        answer = await self._call(scope, "GET", _PATH, query={"since": rfc3339(at)})
        if answer.status == 404:
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
        """Tell what was found; see the port."""
        body = msgspec.json.encode({"created": list(created)})
        answer = await self._call(scope, "PUT", f"{_PATH}/{key}", body=body)
        if answer.status not in (204, 404):
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
            return await self._wire.call(method, path, headers=headers, query=query, body=body)

        token = await self._session.token_for(scope.user_id)
        answer = await once(token)
        if answer.status == 401:
            answer = await once(await self._session.token_for(scope.user_id, stale=token))
        return answer

    def _failed(self, answer: Answer) -> ReadFailed:
        """It cannot be told now. Never a 429: that would speak of calls to Notion."""
        return ReadFailed(Reply(503, retry_after_s=self._wire.retry_after(answer.headers)))
