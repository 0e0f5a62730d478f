"""Pages and outlines without a daemon, read from its files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from clipperd.daemon.schema import CACHE_STEPS, STEPS
from clipperd.model import Scope
from clipperd.outline import store as outlines
from clipperd.outline.tree import Node, Tree
from clipperd.pages import store
from clipperd.pages.entries import Record
from tests.clipperd.cli.commands import run
from tests.clipperd.fake_daemon import OTHER, PAGE

SCOPE = Scope("me", OTHER)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with one account, one page and its outline, and no daemon."""
    for name, steps in (("outbox.db", STEPS), ("cache.db", CACHE_STEPS)):
        connection = sqlite3.connect(tmp_path / name)
        connection.row_factory = sqlite3.Row
        with closing(connection), connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for step in steps:
                step(connection)
            _fill(connection, name)
    return tmp_path


def _fill(connection: sqlite3.Connection, name: str) -> None:
    if name == "outbox.db":
        connection.execute(
            "INSERT INTO account (user_id, email, name, state, is_current, signed_in_at,"
            " current_workspace_id) VALUES ('me', 'a@b.c', 'A', 'signed_in', 1, 0, ?)",
            (OTHER,),
        )
        connection.execute(
            "INSERT INTO workspace (user_id, workspace_id, name, connected, place)"
            " VALUES ('me', ?, 'Lab', 1, 0)",
            (OTHER,),
        )
        return
    stamp = "2026-11-22T10:00:00.000Z"
    record = Record(PAGE, "page", "Reading list", None, None, None, None, stamp, in_trash=False)
    store.upsert(connection, SCOPE, [record], 1e9)
    store.put_index_row(connection, SCOPE, store.IndexRow(phase="complete", refreshed_at=1e9))
    heading = Node(id=OTHER, type="heading_2", level=2, text="To read")
    tree = Tree(PAGE, {PAGE: (heading,)})
    snapshot = outlines.Snapshot(tree, "Reading list", stamp, 1e9, 1e9, 1e9)
    outlines.save(connection, SCOPE, PAGE, snapshot)


def test_pages_are_listed_and_searched(home: Path) -> None:
    for words in (("pages",), ("pages", "reading")):
        result = run(home, *words, "--json")
        found = json.loads(result.out)
        assert [page["id"] for page in found["items"]] == [PAGE]
        assert found["index"]["complete"] is True
        assert "clipperd is not running" in result.err


def test_a_stored_outline_is_shown_as_stale(home: Path) -> None:
    found = json.loads(run(home, "outline", "Reading list", "--json").out)
    assert [heading["text"] for heading in found["headings"]] == ["To read"]
    assert found["stale"] is True


def test_what_needs_a_daemon_says_so(home: Path) -> None:
    result = run(home, "outline", OTHER)
    assert result.code == 1
    assert "clipperd is not running, so Notion cannot be asked." in result.err


def test_whoami_names_the_account(home: Path) -> None:
    assert json.loads(run(home, "whoami", "--json").out)["user"]["email"] == "a@b.c"
