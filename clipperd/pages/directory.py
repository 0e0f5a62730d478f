"""Looks up titles, kinds and workspaces of pages in the page index, without calls to Notion."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence

import msgspec

from clipperd.errors import WorkspaceMismatch
from clipperd.model import Scope
from clipperd.storage.database import STORE_ERRORS, Store


class Known(msgspec.Struct, frozen=True):
    """The title and kind (page, database, data_source) of a page in the index."""

    title: str
    kind: str


class Directory:
    """Reads the page index when a clip is accepted."""

    def __init__(self, cache: Store) -> None:
        self._cache = cache

    async def lookup(self, scope: Scope, page_ids: Sequence[str]) -> dict[str, Known]:
        """Return the known pages, without the unknown ones.

        Raises WorkspaceMismatch for a page that is only in another workspace of the account. If the
        cache cannot be read, no page is known.
        """

        def work(connection: sqlite3.Connection) -> dict[str, Known]:
            known: dict[str, Known] = {}
            for page_id in page_ids:
                found = _workspaces(connection, scope, page_id)
                if scope.workspace_id in found:
                    known[page_id] = found[scope.workspace_id][0]
                elif any(access == "ok" for _, access in found.values()):
                    raise WorkspaceMismatch(
                        "That page is in another workspace.",
                        hint="Send the page's workspace_id, or choose another page.",
                    )
            return known

        with contextlib.suppress(*STORE_ERRORS):
            return await self._cache.read(work)
        return {}


def _workspaces(
    connection: sqlite3.Connection, scope: Scope, page_id: str
) -> dict[str, tuple[Known, str]]:
    """Return a page and its access, by workspace."""
    rows = connection.execute(
        "SELECT workspace_id, title, kind, access FROM page"
        " WHERE user_id = :user AND page_id = :page AND workspace_id IN"
        " (SELECT workspace_id FROM page_index WHERE user_id = :user UNION SELECT :workspace)",
        {"user": scope.user_id, "workspace": scope.workspace_id, "page": page_id},
    )
    return {
        row["workspace_id"]: (Known(str(row["title"]), str(row["kind"])), str(row["access"]))
        for row in rows
    }
