"""Lists return a page count kept by triggers; it must equal a real count."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from clipperd.daemon.schema import CACHE_STEPS
from clipperd.model import Scope
from clipperd.pages import store
from clipperd.pages.entries import Record

SCOPES = (Scope("ada", "home"), Scope("ada", "work"), Scope("bob", "home"))


def a_page(page_id: str, *, trashed: bool) -> Record:
    return Record(page_id, "page", "Title", None, None, None, None, "2026-11-22T10:00:00Z", trashed)


def counted(connection: sqlite3.Connection, scope: Scope) -> int:
    row = connection.execute(
        "SELECT count(*) FROM page WHERE user_id = ? AND workspace_id = ? AND access = 'ok'",
        (scope.user_id, scope.workspace_id),
    ).fetchone()
    return int(row[0])


def opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    return connection


CHANGE = st.tuples(
    st.sampled_from(SCOPES),
    st.sampled_from("abc"),
    st.sampled_from(["seen", "trashed", "gone", "lost", "dropped"]),
)


@given(st.lists(CHANGE, max_size=30))
def test_the_kept_count_is_the_count(changes: list[tuple[Scope, str, str]]) -> None:
    connection = opened()
    for step in CACHE_STEPS:
        step(connection)
    for now, (scope, page, what) in enumerate(changes):
        if what in ("seen", "trashed"):
            record = a_page(page, trashed=what == "trashed")
            store.upsert(connection, scope, [record], now, evidence=True)
        elif what == "dropped":
            connection.execute(
                "DELETE FROM page WHERE user_id = ? AND workspace_id = ? AND page_id = ?",
                (scope.user_id, scope.workspace_id, page),
            )
        else:
            store.mark_lost(
                connection, scope, page, "gone" if what == "gone" else "trashed", float(now)
            )
        for each in SCOPES:
            assert store.index_status(connection, each).count == counted(connection, each)
    connection.close()


def test_a_cache_of_any_earlier_schema_becomes_an_empty_index() -> None:
    for first in range(1, len(CACHE_STEPS)):
        connection = opened()
        for step in CACHE_STEPS[:first]:
            step(connection)
        connection.execute(
            """INSERT INTO page (user_id, workspace_id, page_id, kind, title, folded,
                last_edited_time, access, checked_at)
                VALUES ('u', 'w', 'p', 'page', 'Plan', 'plan', '', 'ok', 0)"""
        )
        for step in CACHE_STEPS[first:]:
            step(connection)
        assert store.index_status(connection, Scope("u", "w")).count == 0
        assert connection.execute("SELECT count(*) FROM page").fetchone()[0] == 0
        connection.close()
