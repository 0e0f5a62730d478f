"""Reads and writes the page index in cache.db; every function runs inside a database job."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any, Literal, cast

import msgspec
from msgspec import UNSET

from clipperd.clock import rfc3339
from clipperd.model import Scope
from clipperd.pages import typos
from clipperd.pages.cursors import Cursor
from clipperd.pages.entries import (
    SPACELESS,
    WORDS,
    Crumb,
    Entry,
    IndexStatus,
    Kind,
    Phase,
    Record,
    fold,
    runs_of,
)

_DEEPEST = 32  # ancestors in a path, at most; Notion nests without limit
_LAG_S = 600.0  # seconds for which search may still return a removed page

_COLUMNS = (
    "seq, page_id, kind, title, url, icon, parent, parent_id, last_edited_time, access, checked_at"
)

KINDS = {
    "": "1",
    "page": "kind = 'page'",
    "database": "kind <> 'page'",
    "data_source": "kind <> 'page' AND kind = 'data_source'",
}
"""SQL conditions by kind of list; search returns databases as data sources since 2025-09-03.

Few entries are databases, so they have an index of their own (page_kind).
"""

DATABASE = "database"
"""The ``kind`` of databases and data sources in the full-text tables."""


class IndexRow(msgspec.Struct, frozen=True):
    """The progress of a crawl; ``cursor`` is Notion's, ``newest`` a last_edited_time."""

    phase: Phase = "never"
    cursor: str | None = None
    newest: str | None = None
    refreshed_at: float | None = None
    error: str | None = None


def upsert(
    connection: sqlite3.Connection,
    scope: Scope,
    records: Iterable[Record],
    now: float,
    *,
    evidence: bool = False,
) -> list[str]:
    """Store records and return the ids that changed.

    ``evidence`` True: read from the object itself, so the record replaces the stored one. False:
    from search, which lags, so an older record neither replaces a newer one nor restores a page
    that was just removed.
    """
    changed: list[str] = []
    moved: list[str] = []
    for record in records:
        old = _row(connection, scope, record.id)
        if old is not None and not evidence and _is_older(record, old, now):
            continue
        access = "trashed" if record.in_trash else "ok"
        if old is not None and not _differs(record, old, access):
            continue
        changed.append(record.id)
        if old is None or (old["title"], old["parent_id"]) != (record.title, record.parent_id):
            moved.append(record.id)
        _put(connection, scope, record, access, now)
    _index_words(connection, scope, moved)
    return changed


def mark_lost(
    connection: sqlite3.Connection,
    scope: Scope,
    page_id: str,
    access: Literal["gone", "trashed"],
    now: float,
) -> bool:
    """Store that the page is gone (404) or in the trash; return whether that is new."""
    keys = _keys(scope, page=page_id, access=access, now=now)
    before = _row(connection, scope, page_id)
    connection.execute(
        """UPDATE page SET access = :access, checked_at = :now
            WHERE user_id = :user AND workspace_id = :workspace AND page_id = :page""",
        keys,
    )
    return before is not None and before["access"] != access


def mark_found(
    connection: sqlite3.Connection, scope: Scope, page_id: str, now: float, *, written: bool = False
) -> bool:
    """Store that Notion answered for a lost page; return whether it was lost.

    A read also works for a page in the trash, so only ``written`` restores one of those.
    """
    row = _row(connection, scope, page_id)
    if row is None or row["access"] not in (("gone", "trashed") if written else ("gone",)):
        return False
    connection.execute(
        "UPDATE page SET access = 'ok', checked_at = ? WHERE seq = ?", (now, row["seq"])
    )
    return True


def lost(connection: sqlite3.Connection, scope: Scope, records: Iterable[Record]) -> list[str]:
    """Return the ids of the records that are stored as gone or in the trash but are in neither."""
    rows = rows_of(connection, scope, [record.id for record in records if not record.in_trash])
    return [page_id for page_id, row in rows.items() if row["access"] != "ok"]


def entry(
    connection: sqlite3.Connection, scope: Scope, page_id: str, favorites: frozenset[str]
) -> tuple[Entry, str] | None:
    """Return one page and its access (ok, trashed, gone), or None if it is unknown."""
    row = _row(connection, scope, page_id)
    if row is None:
        return None
    return to_entry(connection, scope, row, favorites), str(row["access"])


def title_of(connection: sqlite3.Connection, scope: Scope, page_id: str) -> str | None:
    """Return the stored title of a page, or None if it is unknown."""
    row = _row(connection, scope, page_id)
    return None if row is None else str(row["title"])


def kind_of(connection: sqlite3.Connection, scope: Scope, page_id: str) -> str | None:
    """Return the stored kind of a page, or None if it is unknown."""
    row = _row(connection, scope, page_id)
    return None if row is None else str(row["kind"])


def recent(
    connection: sqlite3.Connection, scope: Scope, kind: str, after: Cursor | None, limit: int
) -> list[sqlite3.Row]:
    """Return rows by last edit, newest first, after the cursor."""
    index = "page_kind" if kind in ("database", "data_source") else "page_recent"
    return connection.execute(
        f"""SELECT {_COLUMNS}, last_edited_time AS sort_key FROM page INDEXED BY {index}
            WHERE user_id = :user AND workspace_id = :workspace AND access = 'ok' AND {KINDS[kind]}
              AND (:key IS NULL OR (last_edited_time, page_id) < (:key, :page))
            ORDER BY last_edited_time DESC, page_id DESC LIMIT :limit""",  # noqa: S608 (constants)
        _list_keys(scope, after, limit),
    ).fetchall()


def by_title(
    connection: sqlite3.Connection, scope: Scope, kind: str, after: Cursor | None, limit: int
) -> list[sqlite3.Row]:
    """Return rows by title, after the cursor."""
    index = "page_kind" if kind in ("database", "data_source") else "page_title"
    return connection.execute(
        f"""SELECT {_COLUMNS}, folded AS sort_key FROM page INDEXED BY {index}
            WHERE user_id = :user AND workspace_id = :workspace AND access = 'ok' AND {KINDS[kind]}
              AND (folded, page_id) > (:key, :page)
            ORDER BY folded, page_id LIMIT :limit""",  # noqa: S608 (constants)
        _list_keys(scope, after or Cursor("", ""), limit),
    ).fetchall()


def rows_of(
    connection: sqlite3.Connection, scope: Scope, page_ids: Iterable[str]
) -> dict[str, sqlite3.Row]:
    """Return the rows of the known pages, by id."""
    found = {}
    for page_id in page_ids:
        row = _row(connection, scope, page_id)
        if row is not None:
            found[page_id] = row
    return found


def to_entry(
    connection: sqlite3.Connection, scope: Scope, row: sqlite3.Row, favorites: frozenset[str]
) -> Entry:
    """Convert a row for clients, with its path from the outermost known ancestor."""
    return Entry(
        id=row["page_id"],
        title=row["title"],
        url=row["url"],
        icon=json.loads(row["icon"]) if row["icon"] else None,
        parent=json.loads(row["parent"]) if row["parent"] else None,
        path=path_of(connection, scope, row["parent_id"]),
        kind=cast("Kind", row["kind"]),
        last_edited_time=row["last_edited_time"],
        favorite=row["page_id"] in favorites,
        in_trash=row["access"] == "trashed",
        workspace_id=scope.workspace_id,
    )


def path_of(
    connection: sqlite3.Connection, scope: Scope, parent_id: str | None
) -> tuple[Crumb, ...]:
    """Return the known ancestors, outermost first."""
    path: list[Crumb] = []
    seen: set[str] = set()
    while parent_id is not None and parent_id not in seen and len(path) < _DEEPEST:
        seen.add(parent_id)
        row = _row(connection, scope, parent_id)
        if row is None:
            break
        path.append(Crumb(id=parent_id, title=row["title"]))
        parent_id = row["parent_id"]
    return tuple(reversed(path))


def index_row(connection: sqlite3.Connection, scope: Scope) -> IndexRow:
    """Return the progress of the crawl."""
    row = connection.execute(
        """SELECT phase, cursor, newest, refreshed_at, error FROM page_index
            WHERE user_id = :user AND workspace_id = :workspace""",
        _keys(scope),
    ).fetchone()
    return IndexRow(**dict(row)) if row is not None else IndexRow()


def put_index_row(connection: sqlite3.Connection, scope: Scope, row: IndexRow) -> None:
    """Store the progress of the crawl."""
    connection.execute(
        """INSERT INTO page_index
            (user_id, workspace_id, phase, cursor, newest, refreshed_at, error)
            VALUES (:user, :workspace, :phase, :cursor, :newest, :refreshed_at, :error)
            ON CONFLICT (user_id, workspace_id) DO UPDATE SET phase = :phase, cursor = :cursor,
                newest = :newest, refreshed_at = :refreshed_at, error = :error""",
        _keys(
            scope,
            phase=row.phase,
            cursor=row.cursor,
            newest=row.newest,
            refreshed_at=row.refreshed_at,
            error=row.error,
        ),
    )


def index_status(connection: sqlite3.Connection, scope: Scope) -> IndexStatus:
    """Return the state of the index for clients."""
    row = index_row(connection, scope)
    count = connection.execute(
        """SELECT coalesce(sum(n), 0) FROM page_count
            WHERE user_id = :user AND workspace_id = :workspace""",
        _keys(scope),
    ).fetchone()[0]
    nothing = row.phase == "complete" and count == 0 and not row.error
    return IndexStatus(
        state="error" if row.error else row.phase,
        complete=row.phase == "complete",
        count=count,
        refreshed_at=None if row.refreshed_at is None else rfc3339(row.refreshed_at),
        empty_reason="nothing_shared" if nothing else UNSET,
        error=row.error or UNSET,
    )


def data_source(
    connection: sqlite3.Connection, scope: Scope, data_source_id: str
) -> tuple[dict[str, Any], float] | None:
    """Return a stored schema and when it was fetched (epoch seconds)."""
    row = connection.execute(
        """SELECT body, fetched_at FROM data_source WHERE user_id = :user
            AND workspace_id = :workspace AND data_source_id = :page""",
        _keys(scope, page=data_source_id),
    ).fetchone()
    return None if row is None else (json.loads(row["body"]), row["fetched_at"])


def put_data_source(
    connection: sqlite3.Connection, scope: Scope, body: dict[str, Any], now: float
) -> None:
    """Store the schema of a database."""
    connection.execute(
        """INSERT INTO data_source (user_id, workspace_id, data_source_id, body, fetched_at)
            VALUES (:user, :workspace, :page, :body, :now)
            ON CONFLICT (user_id, workspace_id, data_source_id)
            DO UPDATE SET body = :body, fetched_at = :now""",
        _keys(scope, page=body["id"], body=json.dumps(body, ensure_ascii=False), now=now),
    )


def _keys(scope: Scope, **more: Any) -> dict[str, Any]:
    return {"user": scope.user_id, "workspace": scope.workspace_id, **more}


def _list_keys(scope: Scope, after: Cursor | None, limit: int) -> dict[str, Any]:
    key, page = (after.key, after.page_id) if after else (None, None)
    return _keys(scope, key=key, page=page, limit=limit)


def _row(connection: sqlite3.Connection, scope: Scope, page_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        f"""SELECT {_COLUMNS} FROM page WHERE user_id = :user AND workspace_id = :workspace
            AND page_id = :page""",  # noqa: S608 (constants)
        _keys(scope, page=page_id),
    ).fetchone()
    return row


def _can_be_misspelt(word: str) -> bool:
    """Whether typos are searched for this word: not for numbers, short words, other scripts."""
    return len(word) >= typos.LEAST - 1 and word.isalpha() and not SPACELESS.search(word)


def _is_older(record: Record, old: sqlite3.Row, now: float) -> bool:
    if record.last_edited_time < old["last_edited_time"]:
        return True
    recently = now - old["checked_at"] < _LAG_S
    same = record.last_edited_time == old["last_edited_time"]
    return bool(old["access"] != "ok" and same and recently)


def _differs(record: Record, old: sqlite3.Row, access: str) -> bool:
    new = (record.kind, record.title, record.url, _json(record.icon), _json(record.parent))
    was = (old["kind"], old["title"], old["url"], old["icon"], old["parent"])
    rest = (record.parent_id, record.last_edited_time, access)
    return new != was or rest != (old["parent_id"], old["last_edited_time"], old["access"])


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _put(
    connection: sqlite3.Connection, scope: Scope, record: Record, access: str, now: float
) -> None:
    connection.execute(
        """INSERT INTO page (user_id, workspace_id, page_id, kind, title, folded, url, icon,
                parent, parent_id, last_edited_time, access, checked_at)
            VALUES (:user, :workspace, :page, :kind, :title, :folded, :url, :icon,
                :parent, :parent_id, :stamp, :access, :now)
            ON CONFLICT (user_id, workspace_id, page_id) DO UPDATE SET kind = :kind,
                title = :title, folded = :folded, url = :url, icon = :icon, parent = :parent,
                parent_id = :parent_id, last_edited_time = :stamp, access = :access,
                checked_at = :now""",
        _keys(
            scope,
            page=record.id,
            kind=record.kind,
            title=record.title,
            folded=fold(record.title),
            url=record.url,
            icon=_json(record.icon),
            parent=_json(record.parent),
            parent_id=record.parent_id,
            stamp=record.last_edited_time,
            access=access,
            now=now,
        ),
    )


def _index_words(connection: sqlite3.Connection, scope: Scope, moved: list[str]) -> None:
    """Index pages with a changed title or parent, and all their descendants (paths)."""
    waiting, seen = list(moved), set(moved)
    while waiting:
        page_id = waiting.pop()
        row = _row(connection, scope, page_id)
        assert row is not None, "only stored pages are indexed"
        title = fold(row["title"])
        above = " ".join(c.title for c in path_of(connection, scope, row["parent_id"]))
        kind = None if row["kind"] == "page" else DATABASE
        connection.execute("DELETE FROM page_words WHERE rowid = ?", (row["seq"],))
        connection.execute(
            "INSERT INTO page_words (rowid, title, path, runs, kind) VALUES (?, ?, ?, ?, ?)",
            (row["seq"], title, fold(above), runs_of(title), kind),
        )
        connection.executemany(
            "INSERT INTO page_term (term, backwards) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(word, word[::-1]) for word in WORDS.findall(title) if _can_be_misspelt(word)],
        )
        connection.execute("DELETE FROM page_grams WHERE rowid = ?", (row["seq"],))
        connection.execute(
            "INSERT INTO page_grams (rowid, title, kind) VALUES (?, ?, ?)",
            (row["seq"], title, kind),
        )
        below = connection.execute(
            """SELECT page_id FROM page WHERE user_id = :user AND workspace_id = :workspace
                AND parent_id = :page""",
            _keys(scope, page=page_id),
        )
        for (child,) in below.fetchall():
            if child not in seen:
                seen.add(child)
                waiting.append(child)
