"""Answers the reads of the local API from outbox.db and cache.db while no daemon runs.

The objects are those of the daemon, made by the same code. Never writes and never asks Notion.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import msgspec

from clipperd.client import Client, Json
from clipperd.clock import SystemClock
from clipperd.errors import BrokerUnreachable, ClipperdError
from clipperd.model import Scope
from clipperd.notion.port import Notion
from clipperd.outbox import offline, views
from clipperd.outline.outlines import Outlines
from clipperd.pages.pages import Pages
from clipperd.process.errors import ApiError, DaemonDown
from clipperd.session.accounts import Accounts
from clipperd.session.view import view_of
from clipperd.settings.locations import Locations
from clipperd.storage.database import Database, Work

T = TypeVar("T")
_DOWN = "clipperd is not running."
_HINT = "Start it with: clipperd start"
_PAGE_READS = "SELECT 1 FROM page JOIN page_index USING (user_id) LIMIT 1"


class Files(Client):
    """A client without a daemon: it reads the files and refuses everything else."""

    def __init__(self, places: Locations) -> None:
        """``places``: the locations of outbox.db and cache.db."""
        super().__init__(lambda: None)
        self._places = places

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,  # noqa: ARG002  # of the daemon's client
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002  # as above
    ) -> Json:
        """Answer a read from the files. Raises ApiError as the daemon does, or DaemonDown."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        parts = path.removeprefix("/v1/").split("/")
        try:
            with self._connection() as outbox:
                found = asyncio.run(self._read(_ReadOnly(outbox), method, parts, given))
        except sqlite3.Error as error:
            raise DaemonDown(_DOWN, hint=_HINT) from error
        except ClipperdError as error:
            if isinstance(error, DaemonDown):
                raise
            status = {"not_found": 404, "content_erased": 410}.get(error.code, 409)
            problem = {"code": error.code, "detail": error.detail, "hint": error.hint}
            raise ApiError(status, problem) from error
        return cast(Json, msgspec.to_builtins(found))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with offline.opened(self._places.outbox) as outbox:
            if outbox is None:
                raise DaemonDown(_DOWN, hint=_HINT)
            yield outbox

    async def _read(
        self, outbox: _ReadOnly, method: str, parts: list[str], query: dict[str, Any]
    ) -> Any:
        accounts = Accounts(cast(Database, outbox), SystemClock())
        match method, *parts:
            case "GET", "session":
                account = await accounts.current()
                return view_of("signed_out" if account is None else account.state, account)
            case "GET", "clips", *rest:
                user = await accounts.current_user() or ""
                return _clips(outbox.connection, user, rest, query)
            case "GET", "pages", *rest:
                with offline.opened(self._places.cache, _PAGE_READS) as cache:
                    if cache is None:
                        raise DaemonDown(
                            "clipperd is not running, and it has stored no pages yet.", hint=_HINT
                        )
                    scope = await accounts.scope()
                    return await _pages(_ReadOnly(cache), outbox, scope, rest, query)
            case _:
                raise DaemonDown(_DOWN, hint=_HINT)


class _ReadOnly:
    """A connection with the calls of a database; work runs immediately."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def read(self, work: Work[T], *args: Any, **named: Any) -> T:
        return work(self.connection, *args, **named)


class _Unreachable:
    """Stands in for Notion."""

    async def send(self, *_args: Any, **_named: Any) -> Any:
        raise BrokerUnreachable("clipperd is not running, so Notion cannot be asked.", sent=False)


def _clips(
    connection: sqlite3.Connection, user: str, rest: list[str], query: dict[str, Any]
) -> Any:
    every_account = query.get("account") == "all"
    if not rest:
        chosen = views.Filter(
            states=[state for state in str(query.get("state", "")).split(",") if state],
            page_id=query.get("page_id"),
            text=query.get("q"),
        )
        whose, limit = None if every_account else user, int(query.get("limit", 20))
        found, more = views.page(connection, whose, chosen, limit=limit, cursor=query.get("cursor"))
        return {"items": found, "next_cursor": more, "has_more": more is not None}
    clip_id, *part = rest
    if every_account:
        row = connection.execute("SELECT user_id FROM clip WHERE id = ?", (clip_id,)).fetchone()
        user = user if row is None else row["user_id"]
    if part == ["content"]:
        return {"content": views.content(connection, user, clip_id)}
    return views.get(connection, user, clip_id)


async def _pages(
    cache: _ReadOnly, outbox: _ReadOnly, scope: Scope, rest: list[str], query: dict[str, Any]
) -> Any:
    def ignore(*_args: Any) -> None:
        """No client listens."""

    database, notion = cast(Database, cache), cast(Notion, _Unreachable())
    pages = Pages(database, cast(Database, outbox), notion, SystemClock(), ignore)
    kind, limit = str(query.get("kind", "")), int(query.get("limit", 20))
    if not rest and query.get("q"):
        remote = bool(query.get("remote"))
        return await pages.search(scope, query["q"], kind, limit, remote=remote)
    if not rest:
        view = query.get("view", "recent")
        return await pages.list(scope, view, kind, limit, query.get("cursor"))
    page_id, *part = rest
    if part == ["outline"]:
        return await Outlines(database, notion, SystemClock(), ignore).get(scope, page_id)
    return await pages.get(scope, page_id)
