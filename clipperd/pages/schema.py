"""Defines the tables of the page index (cache.db) and of favourites and usage (outbox.db).

Favourites and usage are in outbox.db because no call can fetch them again.
"""

from __future__ import annotations

import sqlite3


def p001_marks(connection: sqlite3.Connection) -> None:
    """Create the tables of favourites and page use. Times are epoch seconds."""
    connection.execute(
        """CREATE TABLE favorite (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            added_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT, WITHOUT ROWID"""
    )
    connection.execute(
        """CREATE TABLE page_use (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            uses INTEGER NOT NULL,
            weight REAL NOT NULL,
            last_used_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, page_id)
        ) STRICT, WITHOUT ROWID"""
    )


PAGE_STEPS = (p001_marks,)
"""Steps of outbox.db, in order."""


def m001_pages(connection: sqlite3.Connection) -> None:
    """Create the page index with its full-text tables and its progress."""
    connection.execute(
        """CREATE TABLE page (
            seq INTEGER PRIMARY KEY,
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            page_id TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('page', 'database', 'data_source')),
            title TEXT NOT NULL,
            folded TEXT NOT NULL,
            url TEXT,
            icon TEXT,
            parent TEXT,
            parent_id TEXT,
            last_edited_time TEXT NOT NULL,
            access TEXT NOT NULL CHECK (access IN ('ok', 'trashed', 'gone')),
            checked_at REAL NOT NULL,
            UNIQUE (user_id, workspace_id, page_id)
        ) STRICT"""
    )
    connection.execute(
        """CREATE INDEX page_recent
            ON page (user_id, workspace_id, access, last_edited_time DESC, page_id DESC)"""
    )
    connection.execute(
        "CREATE INDEX page_title ON page (user_id, workspace_id, access, folded, page_id)"
    )
    connection.execute("CREATE INDEX page_child ON page (user_id, workspace_id, parent_id)")
    # Both hold case-folded text without diacritics; rowid = page.seq.
    connection.execute(
        """CREATE VIRTUAL TABLE page_words USING fts5
            (title, path, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3')"""
    )
    # Words of titles, for typos; fts5vocab would read every posting list to give them.
    connection.execute("CREATE TABLE page_term (term TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
    connection.execute("CREATE VIRTUAL TABLE page_grams USING fts5 (title, tokenize = 'trigram')")
    connection.execute(
        """CREATE TABLE page_index (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            phase TEXT NOT NULL CHECK (phase IN ('never', 'recents', 'filling', 'complete')),
            cursor TEXT,
            newest TEXT,
            refreshed_at REAL,
            error TEXT,
            PRIMARY KEY (user_id, workspace_id)
        ) STRICT, WITHOUT ROWID"""
    )
    connection.execute(
        """CREATE TABLE data_source (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            data_source_id TEXT NOT NULL,
            body TEXT NOT NULL,
            fetched_at REAL NOT NULL,
            PRIMARY KEY (user_id, workspace_id, data_source_id)
        ) STRICT"""
    )


def m003_count(connection: sqlite3.Connection) -> None:
    """Count visible pages by triggers: every list returns the count, and counting is slow."""
    connection.execute(
        """CREATE TABLE page_count (
            user_id TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            n INTEGER NOT NULL,
            PRIMARY KEY (user_id, workspace_id)
        ) STRICT, WITHOUT ROWID"""
    )
    connection.execute(
        """INSERT INTO page_count SELECT user_id, workspace_id, count(*) FROM page
            WHERE access = 'ok' GROUP BY user_id, workspace_id"""
    )
    for name, event, row, change in (
        ("came", "INSERT", "new", 1),
        ("went", "DELETE", "old", -1),
        ("was_lost", "UPDATE OF access", "old", -1),
        ("was_found", "UPDATE OF access", "new", 1),
    ):
        connection.execute(
            f"""CREATE TRIGGER page_{name} AFTER {event} ON page WHEN {row}.access = 'ok' BEGIN
                INSERT INTO page_count VALUES ({row}.user_id, {row}.workspace_id, {change})
                ON CONFLICT DO UPDATE SET n = n + {change}; END"""  # noqa: S608 (constants)
        )


def m005_search(connection: sqlite3.Connection) -> None:
    """Serve lists and search from indexes alone, with scripts without spaces.

    Deletes the stored pages: fetching them again in the background is cheaper than indexing them
    at the start.
    """
    for table in ("page", "page_index", "page_count"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 (constants)
    for index in ("page_recent", "page_title"):
        connection.execute(f"DROP INDEX {index}")
    for table in ("page_words", "page_grams", "page_term"):
        connection.execute(f"DROP TABLE {table}")
    owner = "user_id, workspace_id, access"
    newest = "last_edited_time DESC, page_id DESC"
    for name, columns in (
        ("page_recent", f"{owner}, {newest}, folded, kind"),
        ("page_title", f"{owner}, folded, page_id, last_edited_time, kind"),
        ("page_kind", f"{owner}, kind, {newest}, folded"),
    ):
        connection.execute(f"CREATE INDEX {name} ON page ({columns})")
    # Case-folded text without diacritics; rowid = page.seq; runs: entries.runs_of(title).
    connection.execute(
        """CREATE VIRTUAL TABLE page_words USING fts5
            (title, path, runs, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3')"""
    )
    connection.execute("CREATE VIRTUAL TABLE page_grams USING fts5 (title, tokenize = 'trigram')")
    # Words of titles, for typos; fts5vocab would read every posting list to give them.
    connection.execute(
        """CREATE TABLE page_term (term TEXT PRIMARY KEY, backwards TEXT NOT NULL)
            STRICT, WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX page_term_backwards ON page_term (backwards)")


def m006_kinds(connection: sqlite3.Connection) -> None:
    """Index databases apart from pages, and index signs (column ``runs``).

    Deletes the stored pages, as ``m005_search`` does.
    """
    for table in ("page", "page_index", "page_count", "page_term"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 (constants)
    connection.execute("DROP INDEX page_kind")
    connection.execute(
        """CREATE INDEX page_kind ON page (user_id, workspace_id, access, kind,
            last_edited_time DESC, page_id DESC, folded) WHERE kind <> 'page'"""
    )
    for table in ("page_words", "page_grams"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute(
        """CREATE VIRTUAL TABLE page_words USING fts5 (title, path, runs, kind,
            tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3')"""
    )
    connection.execute(
        "CREATE VIRTUAL TABLE page_grams USING fts5 (title, kind, tokenize = 'trigram')"
    )
