"""Looks up the titles and workspaces of pages in the page index, without calls to Notion."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence

from clipperd.errors import WorkspaceMismatch
from clipperd.model import Scope
from clipperd.storage.database import STORE_ERRORS, Store


class Directory:
    """Reads the page index when a clip is accepted."""

    def __init__(self, cache: Store) -> None:
        self._cache = cache

    async def lookup(self, scope: Scope, page_ids: Sequence[str]) -> dict[str, str]:
        """Return the titles of the known pages, without the unknown ones.

        Raises WorkspaceMismatch for a page that is only in another workspace of the account. If the
        cache cannot be read, no page is known.
        """

        def work(connection: sqlite3.Connection) -> dict[str, str]:
            titles: dict[str, str] = {}
            for page_id in page_ids:
                found = _workspaces(connection, scope, page_id)
                if scope.workspace_id in found:
                    titles[page_id] = found[scope.workspace_id][0]
                elif any(access == "ok" for _, access in found.values()):
                    raise WorkspaceMismatch(
                        "That page is in another workspace.",
                        hint="Send the page's workspace_id, or choose another page.",
                    )
            return titles

        with contextlib.suppress(*STORE_ERRORS):
            return await self._cache.read(work)
        return {}


def _workspaces(
    connection: sqlite3.Connection, scope: Scope, page_id: str
) -> dict[str, tuple[str, str]]:
    """Return the title and access of a page, by workspace."""
    rows = connection.execute(
        "SELECT workspace_id, title, access FROM page WHERE user_id = :user AND page_id = :page"
        " AND workspace_id IN (SELECT workspace_id FROM page_index WHERE user_id = :user"
        " UNION SELECT :workspace)",
        {"user": scope.user_id, "workspace": scope.workspace_id, "page": page_id},
    )
    return {row["workspace_id"]: (str(row["title"]), str(row["access"])) for row in rows}
